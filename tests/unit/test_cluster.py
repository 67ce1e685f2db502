# SPDX-License-Identifier: GPL-3.0-or-later
"""A RabbitMQ cluster: whose data is whose, when a node may be restarted or forgotten, and where queues lack members."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import cluster
from ansible_collections.celeryops.stack.plugins.module_utils.cluster import Found

A, B, C = (f"rabbit@{name}" for name in "abc")
COOKIE = "c" * 20
#: As RabbitMQ 4.0 writes it, a name with a dash in quotes.
REMEMBERED = "{[rabbit@b,'rabbit@c-1',rabbit@a],[rabbit@b,rabbit@a]}.\n"


def status(*, running: str = "abc", **more: Any) -> dict[str, Any]:
    return {
        "disk_nodes": [A, B, C],
        "ram_nodes": [],
        "running_nodes": [f"rabbit@{name}" for name in running],
        "partitions": {},
        "maintenance_status": dict.fromkeys((A, B, C), "not under maintenance"),
        **more,
    }


def queue(name: str, members: str, online: str | None = None) -> dict[str, Any]:
    there = members if online is None else online
    return {
        "name": name,
        "type": "quorum",
        "members": [f"rabbit@{m}" for m in members],
        "online": [f"rabbit@{m}" for m in there],
    }


class TestDataOnTheDisk:
    def test_a_virgin_host(self, tmp_path: Path) -> None:
        assert cluster.look(A, str(tmp_path / "mnesia"), str(tmp_path / "cookie")) == Found()

    def test_a_member(self, tmp_path: Path) -> None:
        for name, file in ((A, "cluster_nodes.config"), (f"{A}-plugins-expand", "README"), (B, "schema.DAT")):
            (tmp_path / name).mkdir()
            (tmp_path / name / file).write_text(REMEMBERED)
        (tmp_path / "cookie").write_text(f"{COOKIE}\n")
        found = cluster.look(A, str(tmp_path), str(tmp_path / "cookie"))
        assert found == Found(frozenset({A, B}), frozenset({A, B, "rabbit@c-1"}), COOKIE)

    @pytest.mark.parametrize(
        "found",
        [
            Found(),
            Found(cookie="another"),  # of the package, never used
            Found(frozenset({A}), frozenset({A}), "another"),  # alone until now
            Found(frozenset({A}), frozenset({A, B, C}), COOKIE),
            Found(frozenset({A, "rabbit@old"}), frozenset({A}), COOKIE),
            Found(frozenset({A}), frozenset(), COOKIE),  # it keeps them elsewhere
        ],
    )
    def test_what_fits(self, found: Found) -> None:
        assert cluster.misfit(found, A, [A, B, C], COOKIE) is None

    @pytest.mark.parametrize(
        ("found", "nodes", "says"),
        [
            (Found(frozenset({B})), [A, B, C], f"holds the data of {B}, beside which {A} would begin with none"),
            (Found(frozenset({A}), frozenset({A, B, C}), COOKIE), [A, B], f"in one cluster with {C}, which the"),
            (Found(frozenset({A}), frozenset({A, B}), COOKIE), [], f"in one cluster with {B}, which the"),
            (Found(frozenset({A}), frozenset({A, B}), "another"), [A, B, C], "rabbitmq_erlang_cookie is not the one"),
        ],
    )
    def test_what_does_not(self, found: Found, nodes: list[str], says: str) -> None:
        sentence = cluster.misfit(found, A, nodes, COOKIE)
        assert sentence
        assert says in sentence
        assert COOKIE not in sentence
        assert "another" not in sentence

    @pytest.mark.parametrize(
        "remembered",
        [
            {A: "", B: "", C: ""},
            {A: "a", B: "", C: ""},  # one that stood alone, and two new ones
            {A: "abc", B: "abc", C: "abc"},
            {A: "ab", B: "abc", C: "abc"},  # one was down when the last one joined
            {A: "abc"},
            {},
        ],
    )
    def test_one_cluster(self, remembered: dict[str, str]) -> None:
        assert cluster.disunity(self.looks(remembered)) == ""

    @pytest.mark.parametrize(
        ("remembered", "says"),
        [
            ({A: "a", B: "b", C: ""}, f"clusters of their own ({A}; {B})"),
            ({A: "ac", B: "b", C: "ac"}, f"clusters of their own ({A}, {C}; {B})"),
            ({A: "abc", B: "abc", C: ""}, f"{C} belongs to the cluster, but its host holds no data of it"),
        ],
    )
    def test_several(self, remembered: dict[str, str], says: str) -> None:
        assert says in cluster.disunity(self.looks(remembered))

    @staticmethod
    def looks(remembered: dict[str, str]) -> list[dict[str, Any]]:
        return [
            {"node": node, "data": bool(names), "members": [f"rabbit@{name}" for name in names]}
            for node, names in remembered.items()
        ]


class TestARestart:
    def test_of_a_whole_cluster(self) -> None:
        assert cluster.may_restart(status(), A) is None

    @pytest.mark.parametrize(
        ("seen", "says"),
        [
            (status(running="ac"), f"{B} does not run, so {A} was not restarted"),
            (status(running="a"), f"{B}, {C} does not run"),
            (status(partitions={B: [C]}), "has fallen apart"),
            (status(maintenance_status={B: "under maintenance"}), f"{B} is drained"),
        ],
    )
    def test_never_takes_a_second_node_away(self, seen: dict[str, Any], says: str) -> None:
        assert says in (cluster.may_restart(seen, A) or "")

    def test_that_was_interrupted_goes_on(self) -> None:
        assert cluster.may_restart(status(maintenance_status={A: "under maintenance"}), A) is None


class TestMembers:
    def test_all_nodes_run(self) -> None:
        assert cluster.unjoined(status(), [A, B, C]) is None
        assert f"{C} belongs to the cluster and does" in (cluster.unjoined(status(running="ab"), [A, B, C]) or "")
        assert "rabbit@d did not join" in (cluster.unjoined(status(), [A, "rabbit@d"]) or "")

    def test_queues_lack_members_where_they_have_none(self) -> None:
        rows = [queue("x", "abc"), queue("y", "ab"), {"name": "reply", "type": "classic", "members": []}]
        assert cluster.lacking_members(rows, [A, B, C]) == {C: ["y"]}
        assert cluster.lacking_members(rows[:1], [A, B, C]) == {}

    def test_members_are_online(self) -> None:
        assert cluster.all_online([queue("x", "abc")])
        assert not cluster.all_online([queue("x", "abc"), queue("y", "abc", "ab")])
        assert not cluster.all_online([])


class TestForgetting:
    def test_a_dead_node(self) -> None:
        assert cluster.may_be_forgotten(status(running="ab"), [queue("x", "abc", "ab"), queue("y", "ab")], C) is None

    @pytest.mark.parametrize(
        ("seen", "rows", "node", "says"),
        [
            (status(running="ab"), [], "rabbit@d", "rabbit@d is no member of the cluster: write -e node="),
            (status(), [], C, f"{C} runs: stop it first"),
            (status(running="a"), [queue("x", "abc", "a")], C, "The queue x has no majority without rabbit@c (1 of 3"),
        ],
    )
    def test_refused(self, seen: dict[str, Any], rows: list[dict[str, Any]], node: str, says: str) -> None:
        assert says in (cluster.may_be_forgotten(seen, rows, node) or "")


@pytest.mark.parametrize(
    ("command_line", "speaks"),
    [
        ("", ""),
        ("/usr/lib/erlang/bin/beam.smp -- -s rabbit boot -kernel net_ticktime 20", "plain"),
        ("/usr/lib/erlang/bin/beam.smp -- -s rabbit boot -proto_dist inet_tls -ssl_dist_optfile /etc/a.config", "tls"),
    ],
)
def test_what_a_node_speaks_to_others(command_line: str, speaks: str) -> None:
    assert cluster.inter_node(command_line) == speaks
