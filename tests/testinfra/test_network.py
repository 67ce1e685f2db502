# SPDX-License-Identifier: GPL-3.0-or-later
"""Who can connect to what, and what strangers get."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from verification import expected
from verification.node import Node
from verification.talking import Place, Web, amqp_lets_in, redis_says

REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
NOBODY = "guest"


def test_every_service_listens_where_declared(node: Node) -> None:
    missing = [
        f"{service} on {address}:{port}"
        for service, (address, port) in expected.listening(node.host).items()
        if not any(listener.within(address, port) for listener in node.listeners)
    ]
    assert not missing, f"nothing listens on {node.name} for {', '.join(missing)}"


def test_nothing_else_can_be_reached_from_outside(node: Node) -> None:
    declared = expected.listening(node.host).values()
    own_ssh = int(node.host.connection["port"] or 22)
    ports = {own_ssh, *map(int, node.host.variables["verify_public_ports"])}
    open_ = [
        listener
        for listener in node.listeners
        if not listener.loopback
        and listener.port not in ports
        and not any(listener.within(address, port) for address, port in declared)
    ]
    assert not open_, (
        f"{node.name} can be reached from outside at {', '.join(map(str, open_))}, which nobody declared; "
        "if that is meant, add its port to verify_public_ports"
    )


@pytest.mark.on("broker")
@pytest.mark.rabbitmq
class TestRabbitMQ:
    def test_amqp_knows_no_guest(self, node: Node) -> None:
        assert not amqp_lets_in(node.reach("rabbitmq"), NOBODY, NOBODY), "guest may log in"

    def test_amqp_lets_the_workers_in_and_no_wrong_password(self, node: Node) -> None:
        user = node.host.plan["broker"]["user"]
        assert amqp_lets_in(node.reach("rabbitmq"), user, node.host["celery_broker_password"])
        assert not amqp_lets_in(node.reach("rabbitmq"), user, "wrong"), f"{user} may log in with any password"

    @pytest.mark.parametrize("path", ["/api/overview", "/api/definitions", "/api/whoami"])
    def test_management_refuses_strangers(self, node: Node, path: str) -> None:
        web = Web(node.reach("management"))
        assert web.ask(path).status in REFUSED
        assert web.as_user(NOBODY, NOBODY).ask(path).status in REFUSED

    def test_management_shows_the_monitor_no_passwords(self, node: Node) -> None:
        user = node.host.plan["broker"]["monitor_user"]
        web = Web(node.reach("management")).as_user(user, node.host["celery_monitor_password"])
        assert web.ask("/api/queues").status == HTTPStatus.OK
        assert web.ask("/api/definitions").status in REFUSED


@pytest.mark.redis
class TestRedis:
    @pytest.fixture
    def place(self, node: Node) -> Place:
        return node.reach("redis")

    @pytest.mark.on("backend")
    def test_refuses_strangers(self, place: Place) -> None:
        (answer,) = redis_says(place, ["PING"])
        assert answer.startswith("-NOAUTH"), f"a stranger got {answer!r}"

    @pytest.mark.on("backend")
    def test_lets_celery_in_but_not_reconfigure_it(self, node: Node, place: Place) -> None:
        login = ["AUTH", node.host.plan["result_backend"]["user"], node.host["celery_result_password"]]
        answers = redis_says(place, login, ["PING"], ["CONFIG", "GET", "maxmemory"])
        assert answers[:2] == ["+OK", "+PONG"]
        assert answers[2].startswith("-NOPERM"), f"Celery's user may read the configuration: {answers[2]!r}"


@pytest.mark.on("monitor")
@pytest.mark.flower_login
class TestFlower:
    @pytest.mark.parametrize("path", ["/", "/api/workers", "/metrics", "/healthcheck"])
    def test_refuses_strangers(self, node: Node, path: str) -> None:
        web = Web(node.reach("flower"))
        assert web.ask(path).status == HTTPStatus.UNAUTHORIZED
        assert web.as_user(node.host["flower_user"], "wrong").ask(path).status == HTTPStatus.UNAUTHORIZED


@pytest.mark.on("tracker")
class TestBugsink:
    def test_sends_strangers_to_its_login(self, node: Node) -> None:
        answer = Web(node.reach("bugsink")).ask("/")
        assert (answer.status, "login" in answer.headers.get("Location", "")) == (HTTPStatus.FOUND, True)

    def test_api_refuses_strangers(self, node: Node) -> None:
        web, path = Web(node.reach("bugsink")), "/api/canonical/0/issues/?project=1"
        assert web.ask(path).status in REFUSED
        assert web.with_token("0" * 40).ask(path).status in REFUSED
