# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that restart, grow, shrink and restore a RabbitMQ cluster, with tools that only keep books."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.modules import rabbitmq_restore

from .conftest import Run

NODES = ["rabbit@a", "rabbit@b", "rabbit@c"]
TOOL = """#!{python}
import json, os, sys
IGNORED = "--quiet", "--no-ask-password", "--no-pager", "--"
name, arguments = os.path.basename(sys.argv[0]), [each for each in sys.argv[1:] if each not in IGNORED]
state = json.load(open(os.environ["FAKE_RABBITMQ"]))
line = " ".join([name, *arguments])
if arguments[0] == "eval":
    answer, *state["answers"] = state["answers"]
    state.setdefault("asked", []).append(arguments[1])
    print(answer)
elif arguments[0] not in ("cluster_status", "list_queues", "show"):
    with open(os.environ["FAKE_RABBITMQ"] + ".log", "a") as log:
        log.write(line + "\\n")
if state.get("dies") and arguments[0].startswith("await"):
    state["status"]["running_nodes"].remove(state["dies"])
    json.dump(state, open(os.environ["FAKE_RABBITMQ"], "w"))
    sys.exit(1)
if state.get("fails") and state["fails"] in line:
    print("it fails", file=sys.stderr)
    sys.exit(1)
if arguments[0] == "cluster_status":
    print(json.dumps(state["status"]))
if arguments[0] == "show":
    print("\\n".join(f"{{name}}={{value}}" for name, value in state["unit"].items()))
if arguments[0] == "list_queues":
    print(json.dumps(state["queues"]))
if arguments[0] == "grow":
    for queue in state["queues"]:
        queue["members"].append(arguments[1])
        queue["online"].append(arguments[1])
if arguments[0] == "rebalance" and not state.get("stuck"):
    for number, queue in enumerate(state["queues"]):
        queue["leader"] = queue["members"][number % len(queue["members"])]
if arguments[0] == "forget_cluster_node":
    state["status"]["disk_nodes"].remove(arguments[1])
json.dump(state, open(os.environ["FAKE_RABBITMQ"], "w"))
"""


class Broker:
    """The node of a host, and its tools."""

    def __init__(self, run: Run, file: Path) -> None:
        self.run, self.file = run, file

    def set(
        self, running: list[str] = NODES, members: list[str] = NODES, pid: int | None = 1, **goes_wrong: str
    ) -> None:
        status = {"disk_nodes": NODES, "running_nodes": running, "partitions": {}, "maintenance_status": {}}
        online = [node for node in members if node in running]
        queues = [{"name": "q", "type": "quorum", "members": members, "online": online}]
        unit = {"ActiveState": "active" if pid else "inactive", "MainPID": str(pid or 0)}
        self.file.write_text(json.dumps({"status": status, "queues": queues, "unit": unit, **goes_wrong}))

    def restart(self, **more: Any) -> dict[str, Any]:
        arguments = {"node": "rabbit@a", "members": NODES, "units": ["epmd.socket", "rabbitmq-server.service"]}
        return self.run("rabbitmq_restart", **{**arguments, **more})

    def leaders(self, *nodes: str, check: bool = False, **more: Any) -> dict[str, Any]:
        """Spread the leaders of queues that now have these."""
        if nodes:
            self.set(**more)
            state = json.loads(self.file.read_text())
            queue = {"type": "quorum", "members": NODES, "online": NODES}
            state["queues"] = [{**queue, "name": f"q{number}", "leader": node} for number, node in enumerate(nodes)]
            self.file.write_text(json.dumps(state))
        return self.run("rabbitmq_leaders", check=check, diff=True, nodes=NODES, vhost="shop", timeout=0)

    def members(self, **more: Any) -> dict[str, Any]:
        return self.run("rabbitmq_members", vhost="shop", **{"timeout": 1, **more})

    def delete(self, *answers: str, check: bool = False, **more: Any) -> tuple[dict[str, Any], list[str]]:
        """What the module says, and what it asked of a node with these answers."""
        self.file.write_text(json.dumps({"answers": answers}))
        arguments = {"name": "old", "vhost": "shop", "declared": ["default"], **more}
        result = self.run("rabbitmq_queue", check=check, **arguments)
        return result, json.loads(self.file.read_text()).get("asked", [])

    @property
    def did(self) -> list[str]:
        log = self.file.with_name("state.json.log")
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def broker(run_module: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Broker:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("rabbitmqctl", "rabbitmq-upgrade", "rabbitmq-queues", "systemctl"):
        (programs / name).write_text(TOOL.format(python=sys.executable))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_RABBITMQ", str(tmp_path / "state.json"))
    return Broker(run_module, tmp_path / "state.json")


def test_a_node_is_drained_before_it_is_restarted(broker: Broker) -> None:
    broker.set()
    assert broker.restart()["changed"] is True
    assert broker.did == [
        "rabbitmq-upgrade await_online_quorum_plus_one --timeout 20",
        "rabbitmq-upgrade drain",
        "systemctl stop rabbitmq-server.service",
        "systemctl restart epmd.socket",
        "systemctl start rabbitmq-server.service",
    ]


def test_a_node_is_drained_for_those_who_stop_it_themselves(broker: Broker) -> None:
    broker.set()
    assert broker.restart(state="drained")["diff"]["after"] == "drain rabbit@a\n"
    assert broker.did[-1] == "rabbitmq-upgrade drain"
    assert broker.restart(state="drained", members=["rabbit@a"])["changed"] is False


def test_a_node_alone_is_simply_restarted(broker: Broker) -> None:
    broker.set()
    broker.restart(members=["rabbit@a"], units=["rabbitmq-server.service"])
    assert broker.did == ["systemctl stop rabbitmq-server.service", "systemctl start rabbitmq-server.service"]


def test_a_node_that_is_stopped_stays_so(broker: Broker) -> None:
    broker.set(pid=None)
    broker.restart(members=["rabbit@a"])
    assert broker.did == ["systemctl restart epmd.socket"]


@pytest.mark.parametrize("check", [False, True])
def test_no_second_node_is_taken_away(broker: Broker, check: bool) -> None:
    broker.set(running=NODES[:2])
    result = broker.restart(check=check)
    assert result["msg"].startswith("rabbit@c does not run, so rabbit@a was not restarted")
    assert broker.did == []


def test_a_dry_run_restarts_nothing(broker: Broker) -> None:
    broker.set()
    assert broker.restart(check=True)["changed"] is True
    assert broker.did == []


def test_a_queue_that_would_lose_its_majority_keeps_the_node_up(broker: Broker) -> None:
    broker.set(fails="await_online_quorum_plus_one")
    result = broker.restart(timeout=1)
    assert "Without rabbit@a queues would have no majority" in result["msg"]
    assert set(broker.did) == {"rabbitmq-upgrade await_online_quorum_plus_one --timeout 1"}


def test_a_node_that_dies_meanwhile_is_named(broker: Broker) -> None:
    """Without a word, so that it still counted as running when this began."""
    broker.set(dies="rabbit@c")
    assert broker.restart()["msg"].startswith("rabbit@c does not run, so rabbit@a was not restarted")
    assert len(broker.did) == 1


def test_a_node_that_does_not_come_back_is_said(broker: Broker) -> None:
    broker.set(fails="systemctl start")
    result = broker.restart()
    assert result["msg"].startswith("rabbit@a did not come back, and nothing else was restarted")


def test_every_queue_gets_a_member_on_every_node_once(broker: Broker) -> None:
    broker.set(members=NODES[:2])
    assert broker.members(nodes=NODES, check=True)["changed"] is True
    result = broker.members(nodes=NODES, diff=True)
    assert (result["changed"], result["diff"]["after"]) == (True, "1 queues get a member on rabbit@c\n")
    assert broker.did == ["rabbitmq-queues grow rabbit@c all --vhost-pattern ^shop$"]
    assert broker.members(nodes=NODES)["changed"] is False
    assert len(broker.did) == 1


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        (NODES, "rabbit@c belongs to the cluster and does not run"),
        ([*NODES[:2], "rabbit@d"], "rabbit@d did not join rabbit@a, rabbit@b, rabbit@c"),
    ],
)
def test_a_node_that_is_not_there_is_said(broker: Broker, nodes: list[str], says: str) -> None:
    broker.set(running=NODES[:2])
    assert broker.members(nodes=nodes, timeout=0)["msg"].startswith(says)
    assert broker.did == []


def test_leaders_are_spread_once(broker: Broker) -> None:
    result = broker.leaders("rabbit@a", "rabbit@a", "rabbit@a", "rabbit@b")
    assert (result["changed"], result["moved"]) == (True, 3)
    assert result["diff"]["after"] == "q1 on rabbit@b\nq2 on rabbit@c\nq3 on rabbit@a\n"
    assert broker.did == ["rabbitmq-queues rebalance quorum --vhost-pattern ^shop$"]
    assert broker.leaders()["changed"] is False
    assert len(broker.did) == 1


@pytest.mark.parametrize("nodes", [NODES, NODES[:1], [*NODES, "rabbit@a"], [*NODES[:2], *NODES[:2]]])
def test_leaders_that_are_spread_stay(broker: Broker, nodes: list[str]) -> None:
    """As RabbitMQ would leave them: no node leads more than its share, though one may lead none."""
    assert broker.leaders(*nodes)["changed"] is False
    assert broker.did == []


def test_a_check_spreads_nothing(broker: Broker) -> None:
    assert broker.leaders("rabbit@a", "rabbit@a", check=True)["changed"] is True
    assert broker.did == []


def test_leaders_that_do_not_move_are_said(broker: Broker) -> None:
    result = broker.leaders("rabbit@a", "rabbit@a", stuck="yes")
    assert result["msg"].startswith("rabbit@a leads more queues than the others")


def test_a_dead_node_is_forgotten(broker: Broker) -> None:
    broker.set(running=NODES[:2])
    assert broker.members(forget="rabbit@c", check=True)["changed"] is True
    assert broker.did == []
    assert broker.members(forget="rabbit@c")["members"] == NODES[:2]
    assert broker.did == ["rabbitmq-queues shrink rabbit@c", "rabbitmqctl forget_cluster_node rabbit@c"]


def test_a_running_node_is_not(broker: Broker) -> None:
    broker.set()
    assert broker.members(forget="rabbit@c")["msg"].startswith("rabbit@c runs: stop it first")
    assert broker.did == []


def test_a_queue_is_unbound_and_counted_again_before_it_is_deleted(broker: Broker) -> None:
    result, (_, asked) = broker.delete("{0,0,0}", "deleted")
    assert (result["changed"], result["messages"]) == (True, 0)
    steps = [
        "rabbit_binding:remove(",
        "rabbit_channel:info(",
        "rabbit_fifo_dlx_sup",
        "Found = Count(Queue)",
        "rabbit_amqqueue:delete(",
    ]
    where = [asked.index(step) for step in steps]
    assert where == sorted(where)
    assert "Ready == 0 andalso Held == 0" in asked


def test_a_message_that_comes_meanwhile_keeps_the_queue(broker: Broker) -> None:
    result, asked = broker.delete("{0,0,0}", "{1,0,0}")
    assert result["msg"].startswith("The queue old holds 1 messages")
    assert len(asked) == 2


@pytest.mark.parametrize("answer", ["{1,0,0}", "{0,1,0}", "{0,0,1}", "absent"])
def test_a_queue_that_must_stay_is_not_even_unbound(broker: Broker, answer: str) -> None:
    result, asked = broker.delete(answer)
    assert result["failed"] is True
    assert not any("rabbit_binding:remove" in each for each in asked)


def test_a_check_deletes_nothing(broker: Broker) -> None:
    result, asked = broker.delete("{2,1,0}", check=True, with_messages=True)
    assert (result["changed"], result["messages"], len(asked)) == (True, 3, 1)


def test_the_data_of_a_virgin_host(broker: Broker) -> None:
    broker.set(pid=None)
    result = broker.run("rabbitmq_data", node="rabbit@nobody-has-this-name", nodes=NODES)
    assert (result["changed"], result["data"], result["members"], result["inter_node"]) == (False, False, [], "")


def test_what_a_node_speaks_is_in_the_command_line_of_its_process(broker: Broker) -> None:
    command = [sys.executable, "-c", "input()", "-proto_dist", "inet_tls"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        broker.set(pid=process.pid)
        assert broker.run("rabbitmq_data", node="rabbit@nobody-has-this-name")["inter_node"] == "tls"
        process.kill()


def test_a_systemd_that_does_not_answer_is_said(broker: Broker) -> None:
    broker.set(fails="systemctl show")
    assert "it fails" in broker.run("rabbitmq_data", node="rabbit@nobody-has-this-name")["msg"]
    assert "it fails" in broker.restart(members=["rabbit@a"])["msg"]
    assert broker.did == []


@pytest.mark.parametrize("state", ["free", "restored"])
@pytest.mark.parametrize(
    ("left", "fresh"),
    [
        ([], True),
        (["rabbit@a-plugins-expand/README"], True),  # installed and stopped before it came up
        (["rabbit@a/schema.DAT"], False),
        (["rabbit@a/coordination/rabbit@a"], False),
    ],
    ids=["nothing", "no data", "data", "data of Khepri"],
)
def test_a_node_that_has_never_run_is_fresh(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, left: list[str], fresh: bool
) -> None:
    monkeypatch.setattr(rabbitmq_restore, "DATA", str(tmp_path / "mnesia"))
    for name in left:
        (tmp_path / "mnesia" / name).parent.mkdir(parents=True)
        (tmp_path / "mnesia" / name).touch()
    broker.set(fails="export_definitions")  # nothing runs that could answer
    saved = {"users": [{"name": "admin"}, {"name": "reports"}]}

    result = broker.run("rabbitmq_restore", definitions=saved, vhost="shop", users=["admin"], state=state)

    assert broker.did == ([] if fresh else ["rabbitmqctl export_definitions -"])
    if fresh:
        assert (result["changed"], result["restored"]) == (False, {"users": 1})
    else:
        assert result["msg"] == "rabbitmqctl export_definitions failed: it fails"
