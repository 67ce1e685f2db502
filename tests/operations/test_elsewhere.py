# SPDX-License-Identifier: GPL-3.0-or-later
"""A broker that somebody else runs: the other machine, on which nothing of ours is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from operating import ELSEWHERE, Machines

#: Of a broker elsewhere: its own configuration, its own administration, a user with hardly any rights.
BROKER = """
apt-get -qq install rabbitmq-server >/dev/null
printf 'listeners.tcp.default = 0.0.0.0:5672\\n' > /etc/rabbitmq/rabbitmq.conf
systemctl enable --quiet rabbitmq-server
systemctl restart rabbitmq-server
rabbitmqctl -q await_startup
rabbitmqctl -q list_vhosts | grep -x shop >/dev/null || rabbitmqctl -q add_vhost shop
for user in shop watcher; do
  rabbitmqctl -q list_users | grep "^$user" >/dev/null || rabbitmqctl -q add_user $user password-of-a-stranger
done
rabbitmqctl -q set_permissions -p shop watcher '^celeryev|pidbox' '^celeryev|pidbox' '^celeryev|pidbox'
"""
CONTROL = r"celeryev(\..+)?|(.+\.)?(reply\.)?celery\.pidbox"
OWN = r"critical|default|bulk|celery\.tasks|celery\.dead|celery_delayed_.+"
PING = """
from shop import tasks
sent = [tasks.ping.apply_async(queue=queue, countdown=1) for queue in ("critical", "default", "bulk")]
print(*(result.get(timeout=60) for result in sent))
"""
PLAYBOOKS = ("playbooks/facts.yml", "playbooks/app.yml", "playbooks/workers.yml")


@pytest.fixture(scope="module")
def elsewhere(machines: Machines) -> dict[str, Any]:
    """The variables of a deployment that uses it."""
    machines.run(BROKER, ELSEWHERE)
    address = machines.run("hostname -I", ELSEWHERE).split()[0]
    return {
        "celery_broker": f"amqp://shop@{address}:5672/shop",
        "celery_broker_password": "password-of-a-stranger",
        "celery_monitor_user": "watcher",
        "celery_monitor_password": "password-of-a-stranger",
    }


def rights(machines: Machines, configure: str, write: str, read: str) -> None:
    machines.run(f"rabbitmqctl -q set_permissions -p shop shop '^({configure})$' '^({write})$' '^({read})$'", ELSEWHERE)


def queues(machines: Machines) -> dict[str, str]:
    lines = machines.run("rabbitmqctl -q list_queues -p shop name type --no-table-headers", ELSEWHERE).splitlines()
    return dict(line.split("\t") for line in lines)


def clean(machines: Machines) -> None:
    machines.run("rabbitmqctl -q delete_vhost shop; rabbitmqctl -q add_vhost shop", ELSEWHERE)


def workers_say(machines: Machines, variables: dict[str, Any]) -> str:
    """What is said when the workers are refused, before anything changes."""
    before = machines.run("systemctl show -P InvocationID 'celery-worker-*'")
    outcome = machines.playbook(*PLAYBOOKS, check=False, **variables)
    assert outcome.code != 0, f"it was accepted: {outcome.output}"
    assert machines.run("systemctl show -P InvocationID 'celery-worker-*'") == before, "a worker was started anew"
    assert not outcome.changed, outcome.output
    assert "password-of-a-stranger" not in outcome.output
    assert "Traceback" not in outcome.output
    return outcome.said


def test_who_is_not_let_in_is_told(machines: Machines, elsewhere: dict[str, Any]) -> None:
    said = workers_say(machines, {**elsewhere, "celery_broker_password": "another-password-of-a-test"})
    assert "does not let shop into 'shop'" in said
    assert "check the user and the virtual host in celery_broker, and celery_broker_password." in said


def test_a_user_with_no_rights_is_told_each_of_them(machines: Machines, elsewhere: dict[str, Any]) -> None:
    clean(machines)
    rights(machines, CONTROL, CONTROL, CONTROL)
    said = workers_say(machines, elsewhere)
    for queue in ("critical", "default", "bulk", "celery_delayed_27"):
        assert f"The user shop may not declare the queue {queue} (quorum, durable)" in said
    assert "celery_broker_declare: false" in said
    assert queues(machines) == {}


def test_without_declaring_what_is_missing_is_named(machines: Machines, elsewhere: dict[str, Any]) -> None:
    said = workers_say(machines, {**elsewhere, "celery_broker_declare": False})
    assert "The broker has no queue default (quorum, durable): have it made by whoever runs the broker" in said


def test_a_classic_queue_of_the_same_name_is_refused(machines: Machines, elsewhere: dict[str, Any]) -> None:
    clean(machines)
    rights(machines, f"{OWN}|{CONTROL}", f"{OWN}|{CONTROL}", f"{OWN}|{CONTROL}")
    machines.run(
        "rabbitmqctl -q eval 'rabbit_amqqueue:declare("
        'rabbit_misc:r(<<"shop">>, queue, <<"default">>), true, false, [], none, <<"me">>).\'',
        ELSEWHERE,
    )
    said = workers_say(machines, elsewhere)
    assert "The broker has the queue default with x-queue-type classic instead of quorum, which cannot be" in said
    assert "have it emptied and deleted there, or give this one another name in celery_workers." in said
    assert queues(machines) == {"default": "classic"}, "nothing is declared beside it"


def test_everything_is_declared_and_works(
    machines: Machines, elsewhere: dict[str, Any], celery_run: Callable[[str], str]
) -> None:
    clean(machines)
    rights(machines, f"{OWN}|{CONTROL}", f"{OWN}|{CONTROL}", f"{OWN}|{CONTROL}")
    machines.playbook(*PLAYBOOKS, **elsewhere)
    assert {queues(machines)[queue] for queue in ("critical", "default", "bulk", "celery.dead")} == {"quorum"}
    assert len(celery_run(PING).split()) == 3
    assert not machines.playbook(*PLAYBOOKS, **elsewhere).changed


def test_what_is_there_is_used_by_a_user_that_may_not_declare(
    machines: Machines, elsewhere: dict[str, Any], celery_run: Callable[[str], str]
) -> None:
    rights(machines, CONTROL, f"{OWN}|{CONTROL}", f"{OWN}|{CONTROL}")
    machines.playbook(*PLAYBOOKS, celery_broker_declare=False, **elsewhere)
    assert len(celery_run(PING).split()) == 3
