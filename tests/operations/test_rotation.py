# SPDX-License-Identifier: GPL-3.0-or-later
"""Every secret is replaced; what is half done is refused, and what was interrupted is gone on with.

That no task is lost meanwhile the trials in tests/reliability show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from operating import Machines

ROTATE = "playbooks/rotate_secrets.yml"
PING = "from shop import tasks; print(tasks.ping.delay().get(timeout=60))"
PASSWORDS = ("celery_broker_password", "celery_producer_password", "celery_monitor_password", "celery_result_password")
PEOPLE = ("rabbitmq_admin_password", "flower_password", "bugsink_admin_password")


def generation(number: int) -> dict[str, Any]:
    """New values of every secret."""
    secrets = {name: f"{name}-of-generation-{number}" for name in PASSWORDS + PEOPLE}
    return {**secrets, "celery_generation": number, "bugsink_project_key": f"{number:032x}"}


def users(machines: Machines) -> set[str]:
    """The users of RabbitMQ and of Redis."""
    rabbitmq = machines.run("rabbitmqctl --quiet list_users --no-table-headers | cut -f1").split()
    redis = machines.run("awk '/^user / {print $2}' /etc/redis/users.acl").split()
    return {*rabbitmq, *redis} - {"admin", "default"}


def named(number: int) -> set[str]:
    return {name if number == 1 else f"{name}-{number}" for name in ("celery", "producer", "monitor", "results")}


@pytest.mark.parametrize("name", ["celery_broker_password", "celery_result_password"])  # one of each service
def test_a_new_password_of_the_same_user_is_refused(machines: Machines, name: str) -> None:
    service = "Redis" if "result" in name else "RabbitMQ"
    machines.refused(
        ROTATE,
        f"{name} is not the password that {service} has for",
        "write celery_generation: 2 beside the new passwords",
        **{name: "a-new-password-of-a-test"},
    )


def test_a_new_cookie_is_refused(machines: Machines) -> None:
    machines.refused(
        ROTATE, "rabbitmq_erlang_cookie is not the cookie", rabbitmq_erlang_cookie="another-cookie-of-a-test"
    )


def test_everything_is_replaced(machines: Machines, celery_run: Callable[[str], str]) -> None:
    """It was interrupted when only the broker had the new users: it goes on from there."""
    new = generation(2)
    machines.playbook("playbooks/facts.yml", "playbooks/broker.yml", **new)
    machines.changes.update(new)
    outcome = machines.playbook(ROTATE)
    assert users(machines) == named(2) | {"producer", "results"}, "those of producers stay"
    assert "run this again with -e producers_moved=true" in outcome.said
    assert celery_run(PING).strip()
    assert not machines.playbook(ROTATE).changed
    machines.playbook(ROTATE, producers_moved=True)
    assert users(machines) == named(2)
    assert celery_run(PING).strip()
    for program in (ROTATE, "site.yml"):
        assert not machines.playbook(program, producers_moved=True).changed, program


def test_generations_go_up(machines: Machines) -> None:
    machines.refused(ROTATE, "celery_generation is 1, but RabbitMQ has celery-2", celery_generation=1)


def test_who_is_still_there_keeps_the_old_user(machines: Machines) -> None:
    """An application that nobody told of sends as the workers' user."""
    old = machines.changes["celery_broker_password"]
    machines.run(
        "systemd-run --quiet --collect --unit=stranger /opt/celery/app/current/venv/bin/python -c '"
        "import time, kombu\n"
        f'c = kombu.Connection("amqp://celery-2:{old}@127.0.0.1/celery"); c.connect(); time.sleep(3600)\'\n'
        "for i in $(seq 50); do rabbitmqctl -q list_connections user name | grep -c celery-2 && break; done"
    )
    machines.changes.update(generation(3))
    outcome = machines.playbook(ROTATE, check=False, producers_moved=True, rabbitmq_timeout=15)
    assert outcome.code != 0
    assert "Old users are still in use, and stay: celery-2 (1 connections from 127.0.0.1)" in outcome.said
    assert {"celery-3", "celery-2"} <= users(machines)
    machines.run("systemctl stop stranger")
    machines.playbook(ROTATE, producers_moved=True)
    assert users(machines) == named(3)
