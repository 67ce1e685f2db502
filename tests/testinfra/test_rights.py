# SPDX-License-Identifier: GPL-3.0-or-later
"""Each user of the broker can do its work, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from verification import expected
from verification.facts import Host
from verification.node import Node
from verification.remote import elsewhere, rights
from verification.talking import Web

#: The entrance of the ladder of delays: what is published there with a key that nobody binds is gone.
ENTRANCE = "celery_delayed_27"
ALLOWED = {
    "worker": [("declare_exchange", "{exchange}"), ("publish", ENTRANCE), ("declare_queue", "celeryev.of-a-test")],
    "producer": [("publish", ENTRANCE)],
    "monitor": [("declare_queue", "celeryev.of-a-test")],
}
REFUSED = {
    "worker": [
        ("declare_queue", "of-a-stranger"),
        ("declare_exchange", "of-a-stranger"),
        ("publish", "amq.fanout"),
        ("get", "{dead_letter_queue}"),
    ],
    "producer": [
        ("declare_queue", "of-a-stranger"),
        ("declare_queue", "celeryev.of-a-test"),
        ("declare_exchange", "{exchange}"),
        ("publish", "amq.fanout"),
        ("publish", ""),
        ("publish", "{dead_letter_queue}"),
        ("get", "{dead_letter_queue}"),
        ("get", "{queue}"),
    ],
    "monitor": [
        ("declare_queue", "of-a-stranger"),
        ("declare_exchange", "{exchange}"),
        ("publish", ENTRANCE),
        ("publish", "{exchange}"),
        ("get", "{queue}"),
    ],
}
#: Where the settings have the login for Sentinels, besides the URL.
OPTIONS = {"broker_url": "broker_transport_options", "result_backend": "result_backend_transport_options"}
CASES = [
    (user, operation, name, allowed)
    for table, allowed in ((ALLOWED, True), (REFUSED, False))
    for user, attempts in table.items()
    for operation, name in attempts
]


def passwords(host: Host) -> dict[str, str]:
    """The users of RabbitMQ that this deployment has, with their passwords, by their roles."""
    roles = {f"celery_{role}_password": role for role in ("producer", "monitor")} | {"celery_broker_password": "worker"}
    return {roles[user["password_in"]]: user["password_in"] for user in host.plan["broker"]["users"]}


def python(host: Host) -> str:
    """Where Celery and kombu are."""
    return f"{host['celery_venv']}/bin/python"


@pytest.mark.rabbitmq
@pytest.mark.on("worker", first=True)
class TestRabbitMQ:
    def test_each_user_may_do_its_own_and_nothing_else(self, node: Node) -> None:
        broker, own = node.host.plan["broker"], passwords(node.host)
        names = {user["password_in"]: user["name"] for user in broker["users"]}
        urls = {
            role: expected.with_login(broker["url"], names[secret], node.host[secret]) for role, secret in own.items()
        }
        words = {**broker, "queue": broker["queues"][0]}
        cases = [(user, op, name.format(**words), allowed) for user, op, name, allowed in CASES if user in own]
        tls = node.host.plan["settings"].get("broker_use_ssl")
        data = {"urls": urls, "ssl": tls, "attempts": [case[:3] for case in cases]}
        found = node.call(rights, data, python(node.host))
        wrong = [
            f"the {user}'s user {'may not' if allowed else 'may'} {operation} {name!r}"
            for (user, operation, name, allowed), was in zip(cases, found, strict=True)
            if was is not allowed
        ]
        assert {"worker", "monitor"} <= set(own)
        assert not wrong, "; ".join(wrong)

    def test_only_the_monitor_sees_the_management_api(self, node: Node, first: Callable[[str], Node]) -> None:
        broker = first("broker")
        web = Web(broker.reach("management"))
        names = {user["password_in"]: user["name"] for user in broker.host.plan["broker"]["users"]}
        for role, secret in passwords(broker.host).items():
            status = web.as_user(names[secret], broker.host[secret]).ask("/api/queues").status
            assert (status == HTTPStatus.OK) is (role == "monitor"), f"{role}: HTTP {status}"


@pytest.mark.shop
@pytest.mark.producers
@pytest.mark.on("worker", first=True)
def test_an_application_elsewhere_sends_with_what_the_plan_prints(node: Node) -> None:
    host = node.host
    settings = dict(host.plan["producer"])
    for key, secret in (("broker_url", "celery_producer_password"), ("result_backend", "celery_result_password")):
        user = expected.user_of(settings[key])
        settings[key] = expected.with_login(settings[key], user, host[secret])
        options = settings.get(OPTIONS[key], {})
        if "sentinel_kwargs" in options:
            login = {**options["sentinel_kwargs"], "password": host[secret]}
            settings[OPTIONS[key]] = {**options, "sentinel_kwargs": login}
    sends_to_every_queue(node, python(host), settings=settings)


@pytest.mark.shop
@pytest.mark.producers
@pytest.mark.on("worker", first=True)
def test_a_web_process_here_sends_with_the_credential_of_its_unit(node: Node) -> None:
    """As the README says; nothing secret is in its environment."""
    host = node.host
    unit = [
        "systemd-run --quiet --pipe --wait --collect",
        f"--property=User={host['celery_user']}",
        f"--property=LoadCredential=celery:{host['celery_etc']}/producer",
        f"--setenv=PYTHONPATH={host['celery_home']}/runtime",
        f"--setenv=CELERYOPS_SETTINGS={host['celery_etc']}/settings.json",
        "--setenv=CELERY_LOADER=celeryops_runtime.loader:Producer",
    ]
    sends_to_every_queue(node, " ".join([*unit, python(host)]))


def sends_to_every_queue(node: Node, interpreter: str, **more: Any) -> None:
    queues = list(node.host.plan["broker"]["queues"])
    data = {"queues": queues, "task": "shop.tasks.ping", "timeout": 60, **more}
    answers = node.call(elsewhere, data, interpreter)
    assert len(answers) == 2 * len(queues)
    assert set(answers) <= set(node.host.plan["nodes"])
