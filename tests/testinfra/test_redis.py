# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis as the broker: what it keeps, who may do what, and one primary with its replicas."""

from __future__ import annotations

import pytest
from verification.facts import Deployment
from verification.node import Node
from verification.talking import Place, redis_says

pytestmark = [pytest.mark.on("broker"), pytest.mark.redis_broker]
#: What would lose tasks, or open the server, in the hands of a worker.
FORBIDDEN = (
    ["CONFIG", "SET", "appendonly", "no"],
    ["FLUSHALL"],
    ["KEYS", "*"],
    ["SHUTDOWN"],
    ["ACL", "LIST"],
    ["REPLICAOF", "NO", "ONE"],
)


@pytest.fixture
def place(node: Node) -> Place:
    """The Redis of this host, reached from here."""
    return node.reach("redis")


def test_refuses_strangers(place: Place) -> None:
    (answer,) = redis_says(place, ["PING"])
    assert answer.startswith("-NOAUTH"), f"a stranger got {answer!r}"


@pytest.mark.parametrize("password", ["", "default"])
def test_nobody_is_the_default_user(place: Place, password: str) -> None:
    """It has every right, as Redis reads its own file with them."""
    answers = redis_says(place, ["AUTH", "default", password], ["PING"])
    assert [answer.split()[0] for answer in answers] == ["-WRONGPASS", "-NOAUTH"], answers


def test_everything_that_it_wrote_is_read_at_its_start(node: Node) -> None:
    """Redis reads its file as the default user, and leaves out the transactions in which that may not do something."""
    assert "user default off ~* &* +@all" in node.output("cat /etc/redis/users.acl").splitlines()
    log = node.output("cat /var/log/redis/redis-server.log")
    left_out = [line for line in log.rpartition("Redis is starting")[2].splitlines() if "error to its AOF" in line]
    assert not left_out, f"{len(left_out)} commands were left out at its start, such as: {left_out[0]}"


@pytest.mark.parametrize("who", ["user", "monitor_user"])
def test_users_may_do_what_kombu_does_and_no_more(node: Node, place: Place, who: str) -> None:
    secret = {"user": "celery_broker_password", "monitor_user": "celery_monitor_password"}[who]
    login = ["AUTH", node.host.plan["broker"][who], node.host[secret]]
    answers = redis_says(place, login, ["PING"], ["LLEN", "default"], *FORBIDDEN)
    assert answers[:2] == ["+OK", "+PONG"]
    assert answers[2].startswith(":")
    allowed = [
        " ".join(c) for c, answer in zip(FORBIDDEN, answers[3:], strict=True) if not answer.startswith("-NOPERM")
    ]
    assert not allowed, f"{login[1]} may {', '.join(allowed)}"


@pytest.mark.producers
def test_producers_add_and_take_nothing(node: Node, place: Place) -> None:
    login = ["AUTH", node.host.plan["broker"]["producer_user"], node.host["celery_producer_password"]]
    answers = redis_says(place, login, ["LLEN", "default"], ["RPOP", "default"], ["DEL", "default"], *FORBIDDEN)
    assert answers[0] == "+OK"
    assert answers[1].startswith(":")
    assert all(answer.startswith("-NOPERM") for answer in answers[2:]), answers


def test_what_was_accepted_is_on_the_disk_and_never_evicted(node: Node) -> None:
    lines = set(node.output("cat /etc/redis/redis.conf").splitlines())
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= lines


@pytest.mark.replicated
class TestSentinel:
    def test_refuses_strangers(self, node: Node) -> None:
        (answer,) = redis_says(node.reach("sentinel"), ["SENTINEL", "MASTERS"])
        assert answer.startswith("-NOAUTH"), f"a stranger got {answer!r}"

    def test_lets_workers_ask_and_not_decide(self, node: Node) -> None:
        broker = node.host.plan["broker"]
        login = ["AUTH", broker["user"], node.host["celery_broker_password"]]
        commands = [["SENTINEL", "MASTERS"], ["SENTINEL", "FAILOVER", broker["sentinel"]]]
        answers = redis_says(node.reach("sentinel"), login, *commands[1:], commands[0])
        assert answers[0] == "+OK"
        assert answers[1].startswith("-NOPERM"), f"a worker may start a failover: {answers[1]!r}"
        assert answers[2] == "*1", f"it knows {answers[2]} primaries"

    @pytest.mark.on("broker", first=True)
    def test_there_is_one_primary_that_all_sentinels_agree_on(
        self, node: Node, deployment: Deployment, nodes: dict[str, Node]
    ) -> None:
        broker = node.host.plan["broker"]
        login = ["AUTH", node.host["redis_sentinel_user"], node.host["redis_sentinel_password"]]
        ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", broker["sentinel"]]
        said = {}
        for host in deployment.members("broker"):
            place = nodes[host.name].reach("sentinel")
            said[host.name] = redis_says(place, login, ask, lines=6)[3]
        assert len(set(said.values())) == 1, f"the Sentinels do not agree: {said}"
        assert set(said.values()) <= {host["address"] for host in node.host["redis_replicas"]}
