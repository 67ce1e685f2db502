# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: exit codes, formats, what is accepted, and what an application cannot do to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import plan
from auditing.cases import AUDIT, HERE
from celeryops_audit import accepting, live, registry, report
from celeryops_audit.checks import broker
from celeryops_audit.child import is_library, without_secrets
from celeryops_audit.facts import Place, Plan, PlanProblem

CORPUS = HERE / "corpus"
CLEAN = """
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.broker_transport_options = {"read_timeout": 20, "write_timeout": 20}
"""
BLOCKED = CLEAN + "app.conf.task_always_eager = True\n"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Writes an application and audits it."""

    def audit(
        source: str, *arguments: str, given: str | None = None, app: str = "shop:app", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "shop.py").write_text(source)
        return subprocess.run(
            [sys.executable, str(AUDIT / "celeryops_audit"), app, *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **environ},
            input=given,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )

    return audit


def test_nothing_blocks(run: Run) -> None:
    done = run(CLEAN)
    assert (done.returncode, done.stderr) == (0, "")
    assert "shop:app, 0 tasks" in done.stdout


def test_something_blocks(run: Run) -> None:
    done = run(BLOCKED)
    assert done.returncode == 1
    assert "refused  task-always-eager: Tasks run inside their caller\n         shop.py:1  task_alw" in done.stdout
    assert "\n         Fix: set task_always_eager in the tests' settings only\n" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "given", "sentence"),
    [
        (["--plan", "nowhere.json"], "", "nowhere.json cannot be read: No such file or directory"),
        (["--plan", "-"], "{", "- is not JSON"),
        (["--plan", "-"], "[]", "the plan has no workers; write them as {'workers':"),
        (["--plan", "-"], '{"workers": {"a": {"queues": 3}}}', "the plan's worker 'a' has queues that are no list"),
        (["--accept", "-"], '[{"id": "plain-loger", "reason": "x"}]', "no check's; did you mean 'plain-logger'?"),
        (["--accept", "-"], '[{"id": "plain-logger"}]', "acceptance 1 (plain-logger) has no reason"),
        (["--accept", "-"], '[{"id": "plain-logger", "why": "x"}]', "has the unknown key 'why'"),
        (["--accept", "-"], '{"accept": "plain-logger"}', "must be a list of {id, task, reason}"),
        (["--timeout", "0"], "", "--timeout is 0; write a number of seconds"),
        (["--timeout", "nan"], "", "--timeout is nan; write a number of seconds"),
        (["--timeout", "1e30"], "", "--timeout is 1e+30; write a number of seconds"),
        (["--request", "-"], "[]", "- is no mapping; write {plan, accept}"),
        (["--output", "nowhere/audit.json"], "", "nowhere/audit.json cannot be written: No such file or directory"),
        (["--plan", "-"], '{"workers": {"a": {"time_limit": "60"}}}', "has a time_limit that is '60'; write a number"),
        (["--plan", "-"], '{"workers": {}, "broker": "rabbitmq"}', "the plan's broker is no mapping"),
        (["--plan", "-"], '{"workers": {}, "broker": {"consumer_timeout": "30m"}}', "consumer_timeout that is '30m'"),
        (["--plan", "-"], '{"workers": {}, "beats": "one"}', "beats have a count that is 'one'; write a number"),
        (["--plan", "-"], '{"workers": {}, "nodes": "a@b"}', "the plan's nodes are no list"),
    ],
)
def test_it_cannot_be_run(run: Run, arguments: list[str], given: str, sentence: str) -> None:
    done = run(CLEAN, *arguments, given=given)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_files_that_cannot_be_read_are_not_known(run: Run, tmp_path: Path) -> None:
    package, environment = tmp_path / "store", tmp_path / "store/venv"
    environment.mkdir(parents=True)
    (package / "__init__.py").write_text(CLEAN)
    (package / "deep.py").write_text("import celery\nall = " + "+".join(["1"] * 20_000))
    (package / "broken.py").write_text("import celery\nall = = 1")
    (package / "odd.py").write_text("import celery\nall = '\\d'")
    (environment / "pyvenv.cfg").touch()
    (environment / "others.py").write_text("import celery\ncelery.chord([])()")
    done = run("", app="store:app")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 files could not be read" in done.stdout
    assert "chord" not in done.stdout


def test_an_application_is_named_in_one_way(run: Run) -> None:
    done = run(CLEAN, app="shop.py")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert run(CLEAN, app="../shop").returncode == 2


# --- what is accepted -------------------------------------------------------------------------------------------------


def test_an_accepted_finding_does_not_block_and_is_shown_with_its_reason(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.celeryops_audit.accept]]\nid = "task-always-eager"\nreason = "a demonstration"\n'
    )
    done = run(BLOCKED, "--accept", "pyproject.toml")
    assert done.returncode == 0
    assert "tasks run inside whoever calls them. Because: a demonstration" in done.stdout


def test_an_acceptance_is_for_its_task_alone(run: Run) -> None:
    source = CLEAN + (
        "@app.task(max_retries=None, autoretry_for=(OSError,))\ndef one(x):\n    return x\n"
        "@app.task(max_retries=None, autoretry_for=(OSError,))\ndef two(x):\n    return x\n"
    )
    accept = json.dumps([{"id": "retry-unbounded", "task": "shop.one", "reason": "it polls"}])
    told = json.loads(run(source, "--accept", "-", "--format", "json", given=accept).stdout)
    blocking = {each["task"]: each["blocks"] for each in told["findings"] if each["check"] == "retry-unbounded"}
    assert blocking == {"shop.one": False, "shop.two": True}


def test_an_acceptance_of_nothing_is_said(run: Run) -> None:
    done = run(CLEAN, "--accept", "-", given='[{"id": "plain-logger", "task": "shop.gone", "reason": "x"}]')
    assert done.returncode == 0
    assert "nothing like it was found (remove it)\n         plain-logger (shop.gone)" in done.stdout


def test_what_is_not_known_is_not_accepted_away() -> None:
    check = registry.every_check()["no-hard-limit"]
    findings, unused = accepting.apply([check.unknown("who knows")], [accepting.Acceptance(check.id, "x")])
    made = report.Report("shop:app", findings, registry.every_check())
    assert made.unknown
    assert not made.accepted
    assert not unused


# --- what an application cannot do ------------------------------------------------------------------------------------


def test_an_import_that_hangs_ends_with_all_it_started(run: Run, tmp_path: Path) -> None:
    hangs = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        "open('pid', 'w').write(str(child.pid))\n"
        "def wait_for_the_database():\n    time.sleep(300)\n"
        "wait_for_the_database()\n"
    )
    begin = time.monotonic()
    done = run(hangs, "--timeout", "3")
    assert done.returncode == 1
    assert time.monotonic() - begin < 20
    assert "refused  app-hangs-at-import: " in done.stdout
    assert "shop.py:5  the import of the application does not end" in done.stdout
    assert "it was not imported within 3 seconds" in done.stdout
    status = Path("/proc", (tmp_path / "pid").read_text(), "status")
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_an_import_that_ends_the_process_is_a_finding(run: Run) -> None:
    done = run("import os\nprint('no licence', flush=True)\nos._exit(3)\n")
    assert done.returncode == 1
    assert "exit code 3 while it was imported; its last words: no licence" in done.stdout


def test_an_import_error_names_its_place(run: Run) -> None:
    done = run(CLEAN + "\nimport nowhere_at_all\n")
    assert "refused  app-not-importable: " in done.stdout
    assert "shop.py:7  the application cannot be imported: ModuleNotFoundError: " in done.stdout
    assert "No module named 'nowhere_at_all'" in done.stdout


def test_what_an_application_prints_is_not_taken_for_an_answer(run: Run) -> None:
    told = json.loads(run("print('{\"app\": {}}')\n" + CLEAN, "--format", "json").stdout)
    assert told["app"] == "shop:app"


@pytest.mark.parametrize("how", ["json", "sarif", "table"])
def test_no_secret_is_shown(run: Run, how: str) -> None:
    source = CLEAN.replace("amqp://shop@localhost", "amqp://shop:swordfish-of-a-test@10.0.0.5")
    assert "swordfish" not in run(source, "--format", how).stdout
    fails = (
        "import os\nraise OSError(f'{os.environ[\"DATABASE_PASSWORD\"]} and redis://:swordfish-of-a-test@10.0.0.5')\n"
    )
    done = run(fails, "--format", how, DATABASE_PASSWORD="hunter2hunter2")
    assert "app-not-importable" in done.stdout
    assert "swordfish" not in done.stdout
    assert "hunter2" not in done.stdout


def test_what_sounds_secret_is_left_out() -> None:
    assert without_secrets("at amqp://a:b@c and Zuu1Zuu1", {"API_TOKEN": "Zuu1Zuu1"}) == "at amqp://a:***@c and ***"
    assert without_secrets("at amqp://a:b@c/d@e:1/f", {}) == "at amqp://a:***@e:1/f"
    assert without_secrets("could not connect: user=a password=b1c2, host=d", {}) == (
        "could not connect: user=a password=***, host=d"
    )


@pytest.mark.parametrize(
    ("file", "library"),
    [
        ("/srv/shop/shop/tasks.py", False),
        ("/srv/shop/lib/python3.13/site-packages/shop/tasks.py", False),
        ("/srv/shop/lib/python3.13/site-packages/shop.py", False),
        ("/srv/shop/lib/python3.13/site-packages/celery/shop/tasks.py", True),
        ("/srv/shop/lib/python3.13/site-packages/celery/app/builtins.py", True),  # in an environment of that name
        ("<frozen importlib._bootstrap>", True),
        (json.__file__, True),
    ],
)
def test_what_is_the_applications_own(file: str, library: bool) -> None:
    assert is_library(file, "shop") == library
    assert is_library(file, "") == (library or "site-packages" in file)


def test_no_broker_is_needed_and_none_is_asked(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        assert run(CLEAN.replace("localhost", f"127.0.0.1:{port}")).returncode == 0
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_broker_that_does_not_answer_is_not_known(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = run(CLEAN.replace("localhost", f"127.0.0.1:{port}"), "--broker")
    assert done.returncode == 0
    assert "queue-arguments-differ: the broker did not answer: " in done.stdout


# --- the broker's answers ---------------------------------------------------------------------------------------------


class Redis:
    """A client whose user may ask for little."""

    def __init__(self, info: dict[str, Any], save: str | None) -> None:
        self._info, self._save = info, save

    def info(self) -> dict[str, Any]:
        return self._info

    def config_get(self, name: str) -> dict[str, str]:
        from redis.exceptions import NoPermissionError

        if self._save is None:
            raise NoPermissionError(name)
        return {name: self._save}


@pytest.mark.parametrize(("save", "snapshots"), [("3600 1", True), ("", False), (None, None)])
def test_redis_says_what_it_keeps(save: str | None, snapshots: bool | None) -> None:
    info = {"redis_version": "8.0.2", "maxmemory": 0, "maxmemory_policy": "noeviction", "aof_enabled": 0}
    told = live.redis(Redis(info, save))
    assert (told["eviction"], told["aof"], told["snapshots"]) == ("noeviction", False, snapshots)


# --- the formats ------------------------------------------------------------------------------------------------------


def test_of_many_findings_of_a_check_a_terminal_is_shown_some(run: Run) -> None:
    tasks = "".join(
        f"@app.task(max_retries=None, autoretry_for=(OSError,))\ndef task{n}(x):\n    pass\n" for n in range(12)
    )
    done = run(CLEAN + tasks)
    assert done.stdout.count(" has max_retries=None, so it is retried without end") == 10
    assert "         and 2 more\n         Fix: set max_retries to a number\n" in done.stdout
    assert len(json.loads(run(CLEAN + tasks, "--format", "json").stdout)["blocking"]) == 12


def test_json_has_everything(run: Run) -> None:
    told = json.loads(run(BLOCKED, "--format", "json").stdout)
    found = next(each for each in told["findings"] if each["check"] == "task-always-eager")
    assert (found["file"], found["severity"], found["blocks"], found["practice"]) == ("shop.py", "error", True, 19)
    assert found["page"].endswith("docs/audit.md#task-always-eager")
    assert told["blocking"][0].startswith("[task-always-eager] shop.py:1: task_always_eager is on")


def test_sarif(run: Run, tmp_path: Path) -> None:
    accept = '[{"id": "broker-without-tls", "reason": "a private network"}]'
    source = BLOCKED.replace("localhost", "10.0.0.5")
    done = run(source, "--format", "sarif", "--accept", "-", "--output", "out.sarif", given=accept)
    assert (done.returncode, done.stdout) == (1, "")
    told = json.loads((tmp_path / "out.sarif").read_text())
    assert told["version"] == "2.1.0"
    (only,) = told["runs"]
    rules = only["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(registry.every_check())
    results = {each["ruleId"]: each for each in only["results"]}
    for each in only["results"]:
        assert rules[each["ruleIndex"]]["id"] == each["ruleId"]
        assert each["message"]["text"].endswith(".")
        assert each["kind"] == "fail" or each["level"] == "none"
    eager = results["task-always-eager"]
    where = eager["locations"][0]["physicalLocation"]
    assert (where["artifactLocation"]["uri"], where["region"]["startLine"], eager["level"]) == ("shop.py", 1, "error")
    assert results["broker-without-tls"]["suppressions"][0]["justification"] == "a private network"
    assert (results["duplicate-beat"]["kind"], results["duplicate-beat"]["level"]) == ("open", "none")


def test_a_place_is_shown_as_its_reader_would_write_it() -> None:
    made = report.Report("a:b", [], {}, root="/srv/shop")
    assert made.shown("/srv/shop/shop/tasks.py") == "shop/tasks.py"
    assert made.shown("/venv/lib/python3.13/site-packages/mail/tasks.py") == "mail/tasks.py"
    assert made.place(registry.every_check()["plain-logger"].found("x", place=Place("/srv/shop/a.py", 7))) == "a.py:7"


# --- what it has in common with the collection ------------------------------------------------------------------------


def test_the_same_brokers_are_refused_as_by_the_plan() -> None:
    assert (broker.DATABASES, broker.TOYS) == (plan.DATABASE_SCHEMES, plan.TOY_SCHEMES)


def test_it_reads_the_collections_plan() -> None:
    made = plan.make_plan({"celery_app": "shop:app", "celery_workers": {"a": {"time_limit": 60, "queues": ["b", "c"]}}})
    read = Plan.of(json.loads(json.dumps(made["audit"])))
    assert (read.queues, read.beats, read.nodes) == (["b", "c"], 1, ("a-1@localhost",))
    (worker,) = read.workers
    assert (worker.time_limit, worker.soft_time_limit, worker.timeout_stop) == (60, 48, 90)
    assert read.consumer_timeout == made["broker"]["consumer_timeout"] / 1000
    assert read.quorum_queues


def test_it_sees_the_workers_of_all_hosts() -> None:
    hosts = [{"name": name, "address": f"10.0.0.{number}"} for number, name in enumerate(("one", "two"))]
    topology = {"broker": hosts[:1], "backend": hosts[:1], "worker": hosts, "beat": hosts[:1]}
    workers = {"a": {"hosts": ["one"]}, "b": {"hosts": ["two"]}}
    values = {"celery_app": "shop:app", "celery_workers": workers, "celery_topology": topology}
    made = plan.make_plan(values, "one")
    assert set(made["workers"]) == {"a"}
    assert Plan.of(made["audit"]).queues == ["a", "b"]


def test_a_plan_of_nothing_is_refused() -> None:
    with pytest.raises(PlanProblem, match="the plan has no workers"):
        Plan.of({})


def deployed(run: Run, tmp_path: Path, source: str, queues: list[str], *, quorum: bool) -> list[str]:
    """What an application is refused for in a release, where the runtime lays the plan's queues over its own."""
    arguments = {"x-queue-type": "quorum"} if quorum else {}
    own = {"exchange": "celery.tasks", "exchange_type": "topic", "queue_arguments": arguments}
    settings = {
        "task_queues": [{"name": name, **own} for name in queues],
        "task_default_queue": "celery",
        "task_default_exchange": "celery.tasks",
        "task_create_missing_queues": False,
        "task_queue_max_priority": None,
    }
    (tmp_path / "settings.json").write_text(json.dumps({"app": "shop:app", "settings": settings}))
    plan = {
        "workers": {"default": {"queues": queues, "time_limit": 60}},
        "broker": {"quorum_queues": quorum},
        "sentry": False,
    }
    environ = {
        "PYTHONPATH": str(AUDIT),
        "CELERY_LOADER": "celeryops_runtime.loader:Loader",
        "CELERYOPS_SETTINGS": str(tmp_path / "settings.json"),
        "CELERY_BROKER_URL": "amqp://celery@localhost" if quorum else "redis://localhost",
    }
    done = run(source, "--format", "json", "--plan", "-", given=json.dumps(plan), **environ)
    told = json.loads(done.stdout)["findings"]
    return [f"{each['check']}: {each['sentence']}" for each in told if each["blocks"]]


BROADCAST = """
from celery import Celery
from kombu.common import Broadcast

app = Celery("shop")
app.conf.task_queues = [Broadcast("refresh")]
app.conf.task_routes = {"shop.reload": {"queue": "refresh", "exchange": "refresh"}}
@app.task
def reload(): return 1
"""


@pytest.mark.parametrize("queues", [["celery"], ["celery", "refresh"]], ids=["not-in-the-plan", "in-the-plan"])
@pytest.mark.parametrize("quorum", [True, False], ids=["rabbitmq", "redis"])
def test_a_broadcast_is_refused_once_whatever_the_plan_has(
    run: Run, tmp_path: Path, queues: list[str], quorum: bool
) -> None:
    assert deployed(run, tmp_path, BROADCAST, queues, quorum=quorum) == [
        "broadcast-on-work-queue: the queue 'refresh' is a broadcast, but the queues of workers hand each message to "
        "one worker only"
    ]


PRIORITIES = """
from celery import Celery
app = Celery("shop")
app.conf.task_queue_max_priority = 10
app.conf.task_default_priority = 5
@app.task
def pay(order): return order
"""


@pytest.mark.parametrize(
    ("quorum", "said"),
    [
        (True, "which quorum queues do not know"),
        (False, "which Redis does not know: it has the priorities 0, 3, 6 and 9, and 0 comes first"),
    ],
    ids=["rabbitmq", "redis"],
)
def test_priorities_that_the_plan_lays_over_are_refused(run: Run, tmp_path: Path, quorum: bool, said: str) -> None:
    assert deployed(run, tmp_path, PRIORITIES, ["celery"], quorum=quorum) == [
        f"priority-not-kept: task_queue_max_priority is 10, {said}"
    ]
