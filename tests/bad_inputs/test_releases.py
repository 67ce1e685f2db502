# SPDX-License-Identifier: GPL-3.0-or-later
"""A release or a drain that cannot work ends in one clear sentence, and the old release runs on.

Run by molecule against a host on which the shop is deployed:
    pytest tests/bad_inputs/test_releases.py --inventory=molecule/debian12/inventory --machine=debian12/debian12
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import text
from ansible_collections.celeryops.stack.plugins.modules.rabbitmq_queue import deletion

ROOT = Path(__file__).parents[2]
ANSIBLE = str(Path(sys.executable).with_name("ansible-playbook"))
SHOP = ROOT / "examples/shop"

DIES_AS_A_WORKER = """
import os
from celery.signals import worker_init

@worker_init.connect
def die(**_):
    print("the table of orders is missing", flush=True)
    os._exit(3)
"""

#: Which release is in use, and every process of the application: none may have been restarted.
STATE = r"""
readlink /opt/celery/app/current
readlink /opt/celery/app/previous || echo no release before
for unit in $(systemctl list-units --plain --no-legend 'celery-worker-*@*' celery-beat.service | awk '{print $1}'); do
    systemctl show --property Id,MainPID,ActiveState,NRestarts "$unit"
done
"""


@dataclass(frozen=True)
class Case:
    """What is wrong with a release: what it says, and what is added to which file."""

    said: tuple[str, ...]
    append: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)


CASES = {
    "cannot be installed": Case(
        ("no-such-package-of-anybody",), {"requirements.txt": "\nno-such-package-of-anybody==1.0\n"}
    ),
    "cannot be imported": Case(
        ("shop.celery:app can not be imported: ModuleNotFoundError: No module named 'nowhere_at_all'",),
        {"shop/celery.py": "\nimport nowhere_at_all\n"},
    ),
    "never becomes ready": Case(("the table of orders is missing",), {"shop/celery.py": DIES_AS_A_WORKER}),
    # Runs its tasks eagerly, schedules what nobody knows, retries without an end, and runs longer than a stop waits.
    "is blocked by the audit": Case(
        (
            "[task-always-eager] shop/celery.py:1: task_always_eager is on",
            "names the task 'shop.tasks.tock', which is not registered (did you mean 'shop.tasks.tick'?)",
            "[retry-unbounded] shop/tasks.py:",
            "shop.tasks.build_report may run 900 s, but a stop of the worker bulk kills it after 90 s",
        ),
        {
            "shop/celery.py": "\napp.conf.task_always_eager = True\n"
            'app.conf.beat_schedule["tock"] = {"task": "shop.tasks.tock", "schedule": 60}\n',
            "shop/tasks.py": "\n\n"
            "@app.task(base=ReliableTask, autoretry_for=(OSError,), retry_backoff=True, max_retries=None)\n"
            "def poll(order_id: str) -> str:\n    return order_id\n",
        },
        {"celery_audit_accept": []},
    ),
    "accepts what nobody finds": Case(
        ("audit: acceptance 1 has the id 'plain-loger', which is no check's; did you mean 'plain-logger'?",),
        variables={"celery_audit_accept": [{"id": "plain-loger", "reason": "nobody reads them"}]},
    ),
    "fails its audit": Case(
        ("a column is missing",), variables={"app_audit": ["sh", "-c", "echo a column is missing >&2; exit 1"]}
    ),
    "fails what is done once": Case(
        ("the database is locked",), variables={"app_once": ["sh", "-c", "echo the database is locked >&2; exit 1"]}
    ),
    "fails what it builds": Case(
        ("ended with exit code 4: there is no such picture",),
        variables={"app_build": ["sh", "-c", "touch written; echo there is no such picture >&2; exit 4"]},
    ),
    "has no room": Case(("MiB free, a release needs 900000000: make room",), variables={"app_free_space": 900000000}),
}


@dataclass(frozen=True)
class Operator:
    """Runs playbooks as a user would."""

    inventory: str

    def start(self, playbook: str, **variables: Any) -> subprocess.Popen[str]:
        command = [ANSIBLE, f"playbooks/{playbook}.yml", "--inventory", self.inventory, "-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_CONFIG": os.environ.get("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, playbook: str, **variables: Any) -> tuple[int, str]:
        return finish(self.start(playbook, **variables))


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def said(output: str) -> str:
    return " ".join(output.split())


@pytest.fixture
def operator(inventory: str) -> Operator:
    return Operator(inventory)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A copy of the example, to be changed."""
    left_out = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info", "build")
    return Path(shutil.copytree(SHOP, tmp_path / "shop", ignore=left_out))


@pytest.fixture
def old_release_runs(on_host: Callable[[str], str]) -> Iterator[None]:
    """Nothing of the application was restarted, nothing is left, and a task goes through."""
    before = on_host(STATE)
    yield
    assert on_host(STATE) == before
    assert on_host("ls /run/celery-release.lock 2>/dev/null || echo free") == "free\n"
    assert on_host("systemctl list-units --plain --no-legend 'celery-worker-*-next*'") == ""
    on_host("celery-run shop ping --timeout 30")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("old_release_runs")
def test_a_release(name: str, operator: Operator, shop: Path) -> None:
    case = CASES[name]
    for file, added in (case.append or {"VERSION": f"{uuid4()}\n"}).items():
        with (shop / file).open("a") as opened:
            opened.write(added)
    code, output = operator.run("release", app_source=str(shop), **case.variables)
    assert code != 0
    for sentence in case.said:
        assert sentence in said(output)
    assert "The old release is in use on every host, because:" in said(output)
    assert output.count("Traceback") <= 1, "it is shown again and again"


@pytest.mark.usefixtures("old_release_runs")
def test_a_rollback_with_nothing_to_go_back_to(operator: Operator, on_host: Callable[[str], str]) -> None:
    on_host("rm -f /opt/celery/app/previous")
    code, output = operator.run("rollback")
    assert code != 0
    assert "there is no release before the current one on this host" in said(output)


@pytest.mark.usefixtures("old_release_runs")
def test_a_release_of_what_is_there(operator: Operator) -> None:
    code, output = operator.run("release", release="shop-1.0.0-000000000000")
    assert code != 0
    assert "run rollback.yml -e release=shop-1.0.0-000000000000" in said(output)


@pytest.mark.usefixtures("old_release_runs")
def test_a_rollback_to_what_is_not_there(operator: Operator) -> None:
    code, output = operator.run("rollback", release="shop-0.0.1-0")
    assert code != 0
    assert "there is no complete release shop-0.0.1-0 on this host: there are shop-" in said(output)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"host": "worker9"}, "host is 'worker9', which is not in the inventory group 'worker'"),
        ({"queue": "bluk"}, "queue is 'bluk', which no entry of celery_workers consumes (did you mean 'bulk'?)"),
        ({}, "neither host nor queue is set; write one of them"),
    ],
)
@pytest.mark.usefixtures("old_release_runs")
def test_a_drain_of_what_is_not_there(operator: Operator, variables: dict[str, str], sentence: str) -> None:
    code, output = operator.run("drain", **variables)
    assert code != 0
    assert sentence in said(output)


def test_two_releases_at_once_and_the_way_back(
    operator: Operator, on_host: Callable[[str], str], shop: Path, tmp_path: Path
) -> None:
    """The second is refused, the first ends well, and a rollback ends where it began."""
    before = on_host("readlink /opt/celery/app/current")
    on_host("touch /var/lib/celery/wait")
    (shop / "VERSION").write_text(f"{uuid4()}\n")
    waits = ["sh", "-c", "while [ -e /var/lib/celery/wait ]; do sleep 0.2; done"]
    first = operator.start("release", app_source=str(shop), app_audit=waits)
    try:
        until(lambda: "lock" in on_host("ls /run/celery-release.lock 2>/dev/null || true"))
        code, output = operator.run("release", app_source=str(SHOP))
        assert code != 0
        assert "a release is going on since" in said(output)
        assert "wait until it has ended" in said(output)
        code, output = operator.run("site")
        assert code != 0
        assert "a release is going on since" in said(output)
    finally:
        on_host("rm /var/lib/celery/wait")
        code, output = finish(first)
    assert code == 0, output
    assert on_host("readlink /opt/celery/app/current") != before
    on_host("celery-run shop ping --timeout 30")
    code, output = operator.run("rollback")
    assert code == 0, output
    assert on_host("readlink /opt/celery/app/current") == before
    on_host("celery-run shop ping --timeout 30")


#: A queue that is declared no more, with a message, made by an account of its own.
RETIRED = """
set -eu
rabbitmqctl -q add_user tester tester-pw
rabbitmqctl -q set_permissions --vhost celery tester '.*' '.*' '.*'
celery-run python -c '
from kombu import Connection
from shop.celery import app
url = "amqps://tester:tester-pw@127.0.0.1:5671/celery"
with Connection(url, ssl=app.conf.broker_use_ssl) as connection:
    queue = connection.SimpleQueue("retired", queue_args={"x-queue-type": "quorum"})
    queue.put("somebody still needs this")
    queue.close()
'
rabbitmqctl -q delete_user tester
"""
QUEUES = "rabbitmqctl -q list_queues --vhost celery name messages | grep -E '^(retired|bulk)' | sort"


def test_a_queue_is_deleted_only_when_nobody_needs_it(operator: Operator, on_host: Callable[[str], str]) -> None:
    on_host(RETIRED)
    until(lambda: "retired\t1\n" in on_host(QUEUES))
    before = on_host(QUEUES)
    for variables, sentence in (
        ({}, "No queue is named; write -e queue=NAME."),
        ({"queue": "nowhere"}, "RabbitMQ has no queue nowhere"),
        ({"queue": "bulk"}, "The queue bulk is declared"),
        ({"queue": "retired"}, "The queue retired holds 1 messages"),
    ):
        code, output = operator.run("delete_queue", **variables)
        assert code != 0
        assert sentence in said(output)
        assert on_host(QUEUES) == before
    code, output = operator.run("delete_queue", queue="retired", with_messages=True)
    assert code == 0, output
    assert "retired" not in on_host(QUEUES)


#: Queues that are deleted one after the other, each at a moment in which somebody sends to it.
MOMENTS, APART = 50, 100
WITH_CHANNEL = """
import json, random, sys, time
from amqp import Message
from shop.celery import app

moments, apart, start = map(int, sys.argv[1:])
names = [f"moment-{number}" for number in range(moments)]
lasting = {"durable": True, "auto_delete": False}
quorum = {**lasting, "arguments": {"x-queue-type": "quorum"}}
connection = app.connection_for_write().clone(
    userid="tester", password="tester-pw", transport_options={"confirm_publish": True}
)
channel = connection.channel()
"""
SEND = """
channel.exchange_declare("moments.dead", "fanout", **lasting)
channel.exchange_declare("moments", "topic", arguments={"alternate-exchange": "moments.dead"}, **lasting)
for name, exchange in [("moments.dead", "moments.dead"), *((name, "moments") for name in names)]:
    channel.queue_declare(name, **quorum)
    channel.queue_bind(name, exchange, name)
assert time.time() * 1000 < start, "it took too long to declare the queues"
for number, name in enumerate(names):
    time.sleep(max(0, (start + number * apart + random.uniform(-20, 30)) / 1000 - time.time()))
    channel.basic_publish_confirm(Message(name, delivery_mode=2), "moments", name)
"""
COLLECT = """
found = []
for name in ["moments.dead", *names]:
    channel.queue_declare(name, **quorum)  # that of one which was deleted is empty
    while message := channel.basic_get(name, no_ack=True):
        found.append([name, message.body])
    channel.queue_delete(name)
channel.exchange_delete("moments")
channel.exchange_delete("moments.dead")
print(json.dumps(found))
"""


def test_a_message_that_is_sent_when_its_queue_is_deleted_is_not_lost(on_host: Callable[[str], str]) -> None:
    one = deletion("celery", "NAME", with_messages=False).strip().rstrip(".").replace(text("NAME"), "Moment")
    each = f"""
        [begin
          timer:sleep(max(0, START + Number * {APART} - erlang:system_time(millisecond))),
          (fun(Moment) -> {one} end)(list_to_binary("moment-" ++ integer_to_list(Number)))
        end || Number <- lists:seq(0, {MOMENTS - 1})].
    """
    send, collect = (
        f"celery-run python -c {shlex.quote(WITH_CHANNEL + script)} {MOMENTS} {APART} $start"
        for script in (SEND, COLLECT)
    )
    printed = on_host(f"""
        set -eu
        rabbitmqctl -q add_user tester tester-pw
        trap 'rabbitmqctl -q delete_user tester' EXIT
        rabbitmqctl -q set_permissions -p celery tester '.*' '.*' '.*'
        start=$(($(date +%s%3N) + 15000))
        expression={shlex.quote(each)}
        rabbitmqctl -q eval "${{expression/START/$start}}" >&2 &
        {send}
        wait $!
        {collect}
    """)
    found = json.loads(printed)
    assert sorted(body for _, body in found) == sorted(f"moment-{number}" for number in range(MOMENTS))
    assert {where == "moments.dead" for where, _ in found} == {True, False}, "no message came at its queue's moment"


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def test_a_drained_queue_stays_away_until_it_is_brought_back(operator: Operator, on_host: Callable[[str], str]) -> None:
    unit = "celery-worker-bulk@1.service"
    code, output = operator.run("drain", queue="bulk")
    assert code == 0, output
    assert f"drained, nothing runs in {unit}" in said(output)
    assert on_host(f"systemctl is-active {unit} || true") == "inactive\n"
    on_host(f"systemctl start {unit}")  # as after a restart of the host
    assert on_host(f"systemctl is-active {unit} || true") == "inactive\n"
    code, output = operator.run("workers")
    assert code == 0, output
    assert on_host(f"systemctl is-active {unit} || true") == "inactive\n"
    code, output = operator.run("drain", queue="bulk", back=True)
    assert code == 0, output
    assert f"{unit} consumes again" in said(output)
    on_host("celery-run shop ping --timeout 30")
