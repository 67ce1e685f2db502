# SPDX-License-Identifier: GPL-3.0-or-later
"""An application with settings, routes and a logging of its own: molecule/application/app/odd.py."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from operating import ROOT, Machines

#: What a process of the deployment reads, and which processes there are.
STATE = "systemctl show --property=Id,MainPID 'celery-*'; sha256sum /etc/celery/credentials/* /etc/celery/settings.json"
UNIT = "celery-worker-default@1.service"


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def call(celery_run: Callable[[str], str]) -> Callable[[str], Any]:
    """What a task returns."""

    def called(expression: str) -> Any:
        return json.loads(celery_run(f"import json, odd\nprint(json.dumps(({expression}).get(timeout=30)))"))

    return called


@pytest.mark.parametrize(
    ("expression", "queue"),
    [
        ("odd.by_function.delay()", "heavy"),
        ("odd.by_attribute.delay()", "heavy"),
        ("odd.by_attribute.apply_async(queue='default', routing_key='of.nobody')", "default"),
        ("odd.by_function.apply_async(routing_key='of.nobody', countdown=1)", "heavy"),
        ("odd.retried.apply_async(queue='heavy', routing_key='of.nobody')", "heavy"),
        ("odd.app.send_task('odd.by_function', routing_key='of.nobody')", "heavy"),
    ],
)
def test_of_a_route_only_the_queue_counts(call: Callable[[str], Any], expression: str, queue: str) -> None:
    """Each worker of the plan consumes the queue of its name alone."""
    assert call(expression).startswith(f"{queue}-1@")


def test_nothing_is_dead(machines: Machines) -> None:
    """Beat sends with a key of its own every second."""
    listed = machines.run("rabbitmqctl -q list_queues -p celery name messages --no-table-headers").splitlines()
    assert "celery.dead\t0" in listed


def test_a_second_application_keeps_its_broker(call: Callable[[str], Any]) -> None:
    ours, others = call("odd.brokers.delay()")
    assert ours.startswith("amqp://celery:**@")
    assert others.startswith("amqp://partner:**@127.0.0.1:1/")


def test_a_command_of_celery_sends(machines: Machines) -> None:
    task = machines.run("celery-run celery -A odd:app call odd.shared").split()[-1]
    until(lambda: "shared" in machines.run(f"celery-run celery -A odd:app result {task}"))


def test_lines_have_their_fields_whatever_the_application_does_to_logging(
    machines: Machines, celery_run: Callable[[str], str]
) -> None:
    task = celery_run("import odd; print(odd.says.delay().id)").split()[-1]
    look = f"journalctl --output=json -p err CELERY_TASK_ID={task}"
    until(lambda: machines.run(f"{look} | wc -l").strip() == "2")
    lines = [json.loads(line) for line in machines.run(look).splitlines()]
    assert {line["_SYSTEMD_UNIT"] for line in lines} <= {UNIT, UNIT.replace("default", "heavy")}
    assert {line["CELERY_TASK_NAME"] for line in lines} == {"odd.says"}
    assert lines[0]["MESSAGE"] == "own format: the stock is empty"
    assert "nothing to sell" in lines[1]["MESSAGE"]


@pytest.mark.parametrize("end", ["systemctl kill --signal=KILL", "systemctl restart"])
def test_what_is_revoked_stays_revoked(machines: Machines, celery_run: Callable[[str], str], end: str) -> None:
    task = uuid4()
    machines.run(f"celery-run celery -A odd:app control revoke {task}")
    before = machines.run(f"systemctl show -P MainPID {UNIT}")
    machines.run(f"{end} {UNIT}")
    until(lambda: machines.run(f"systemctl show -P MainPID {UNIT}").strip() not in {before.strip(), "0"})
    until(lambda: "consuming" in machines.run(f"systemctl show -P StatusText {UNIT}"))
    celery_run(f"import odd; odd.fine.apply_async(task_id='{task}', queue='default')")
    until(lambda: "Discarding revoked task" in machines.run(f"journalctl -u {UNIT} | grep {task} || true"))
    assert "received" in machines.run(f"journalctl -u {UNIT} | grep {task}")
    assert "succeeded" not in machines.run(f"journalctl -u {UNIT} | grep {task}")


def test_workers_show_no_password(machines: Machines) -> None:
    shown = machines.run("celery-run celery -A odd:app inspect conf")
    assert "OTHER_BROKER_URL" in shown
    for name, value in machines.variables.items():
        assert not (name.endswith("_password") and value in shown), f"{name} is shown"


def test_beat_says_what_it_does_now(machines: Machines) -> None:
    def status() -> str:
        return machines.run("systemctl show -P StatusText celery-beat.service")

    before = status()
    assert "odd.fine last, at" in before
    until(lambda: status() != before)


@pytest.mark.parametrize("user", ["", "nobody@"])
def test_a_result_backend_that_refuses_the_login_is_no_worker_s(machines: Machines, user: str) -> None:
    before = machines.run(STATE)
    outcome = machines.playbook(
        *("playbooks/facts.yml", "playbooks/app.yml", "playbooks/workers.yml"),
        check=False,
        celery_result_backend=f"redis://{user}127.0.0.1:6379/1",
        celery_result_password="wrong-password-of-a-test",
    )
    assert outcome.code != 0
    assert f"The result backend redis://{user.replace('@', '')}:**@127.0.0.1:6379/1 refuses the login (" in outcome.said
    assert "wrong-password-of-a-test" not in outcome.output
    assert machines.run(STATE) == before


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the application, to be changed."""
    return Path(shutil.copytree(ROOT / "molecule/application/app", tmp_path / "app"))


def add(source: Path, line: str) -> None:
    with (source / "odd.py").open("a") as opened:
        opened.write(f"\n{line}\n")


def test_site_that_the_audit_refuses_writes_nothing_that_a_process_reads(machines: Machines, source: Path) -> None:
    """Neither settings nor credentials: a worker that restarts now starts as before."""
    add(source, "app.conf.task_always_eager = True")
    before = machines.run(STATE)
    outcome = machines.playbook(
        "site.yml",
        check=False,
        app_source=str(source),
        celery_settings={"result_expires": 3601},
        celery_secret_environment={"ADDED": "value-of-a-test"},
    )
    assert outcome.code != 0
    assert "task_always_eager is on" in outcome.said
    assert machines.run(STATE) == before
    assert machines.run("ls -d /run/celery-next.* 2>/dev/null || echo gone") == "gone\n"


def test_check_mode_knows_the_queue_that_is_added(machines: Machines, source: Path) -> None:
    """The audit holds the application against the settings that would be written."""
    add(source, 'app.conf.task_routes = {"odd.fine": {"queue": "added"}}')
    workers = {**machines.variables["celery_workers"], "added": {"soft_time_limit": 40, "time_limit": 60}}
    machines.playbook("site.yml", "--check", app_source=str(source), celery_workers=workers)


@pytest.mark.parametrize(
    "playbook", ["site.yml", "playbooks/rollback.yml", "playbooks/workers.yml", "playbooks/drain.yml"]
)
def test_another_deployment_does_not_take_the_host(machines: Machines, playbook: str) -> None:
    changed = "find /etc /opt/celery -type f -printf '%p %u %m %T@\\n' | sort"
    before = machines.run(changed)
    outcome = machines.playbook(playbook, check=False, celery_app="blog:app", queue="heavy")
    assert outcome.code != 0
    assert "he host is that of the deployment 'odd:app'" in outcome.said
    assert "write 'celery_replaces: odd:app'" in outcome.said
    assert machines.run(changed) == before


def test_commands_of_a_release(machines: Machines) -> None:
    """What was built is part of the release; what comes after it comes after each switch, also one back."""
    first = machines.run("readlink /opt/celery/app/current").strip()
    assert machines.run("cat /var/log/after").split() == [first]
    built = machines.run("stat --format '%U %s' /opt/celery/app/current/src/built").split()
    assert built[0] == "root"
    assert int(built[1]) > 0

    again = machines.playbook("site.yml")
    assert again.code == 0
    assert machines.run("cat /var/log/after").split() == [first]

    machines.playbook("playbooks/release.yml", app_requirements=["redis==8.1.0", "packaging==26.3", "six==1.17.0"])
    second = machines.run("readlink /opt/celery/app/current").strip()
    assert second != first
    machines.playbook("playbooks/rollback.yml")
    assert machines.run("cat /var/log/after").split() == [first, second, first]


def test_a_build_that_fails_leaves_the_release(machines: Machines) -> None:
    before = machines.run("readlink /opt/celery/app/current")
    outcome = machines.playbook(
        "playbooks/release.yml", check=False, app_build=["sh", "-c", "echo there is no node here >&2; exit 3"]
    )
    assert outcome.code != 0
    assert "there is no node here" in outcome.said
    assert "Traceback" not in outcome.output
    assert machines.run("readlink /opt/celery/app/current") == before
