# SPDX-License-Identifier: GPL-3.0-or-later
"""What a RabbitMQ cluster is made of, and what must not be done to it. Nothing here talks to a node."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NODE = re.compile(r"[A-Za-z0-9_-]+@[A-Za-z0-9_.-]+")
#: What RabbitMQ's folder of a node holds, whichever way it keeps its metadata.
_SIGNS = ("cluster_nodes.config", "schema.DAT", "coordination")
DATA = "/var/lib/rabbitmq/mnesia"
COOKIE = "/var/lib/rabbitmq/.erlang.cookie"
FORGET = "playbooks/forget_broker.yml -e node="


@dataclass(frozen=True)
class Found:
    """What is on a host's disk."""

    #: Nodes whose data is there.
    data: frozenset[str] = frozenset()
    #: The cluster that the node of this host remembers, itself included; empty where it remembers none.
    members: frozenset[str] = frozenset()
    cookie: str = ""


def have_run(data: str = DATA) -> frozenset[str]:
    """The nodes whose data is on a host's disk; a package that was installed and never ran has left none."""
    folders = Path(data).glob("*@*")
    return frozenset(path.name for path in folders if any((path / sign).exists() for sign in _SIGNS))


def look(node: str, data: str = DATA, cookie: str = COOKIE) -> Found:
    """Read it."""
    own, file = Path(data, node), Path(cookie)
    remembered = own / "cluster_nodes.config"
    return Found(
        data=have_run(data),
        members=members(remembered.read_text(encoding="utf-8")) if remembered.exists() else frozenset(),
        cookie=file.read_text(encoding="utf-8").strip() if file.exists() else "",
    )


def inter_node(command_line: str) -> str:
    """What a node that runs by this command speaks to others: "plain" or "tls"; empty where it does not run."""
    words = command_line.split()
    return "" if not words else "tls" if "inet_tls" in words else "plain"


def members(text: str) -> frozenset[str]:
    """The nodes in RabbitMQ's file cluster_nodes.config, an Erlang term."""
    return frozenset(_NODE.findall(text))


def misfit(found: Found, node: str, nodes: Collection[str], cookie: str) -> str | None:
    """Why what is on a host's disk is not that of this node in this cluster."""
    if found.data and node not in found.data:
        others = ", ".join(sorted(found.data))
        return (
            f"This host holds the data of {others}, beside which {node} would begin with none: write "
            f"rabbitmq_node_name: {sorted(found.data)[0]} for this host, or, where nobody needs that data, move {DATA} "
            "away."
        )
    if strangers := sorted(found.members - {node, *nodes}):
        return (
            f"{node} is in one cluster with {', '.join(strangers)}, which the inventory does not name: put the host "
            f"back into the group 'broker', or take the node out of the cluster first, with {FORGET}{strangers[0]}."
        )
    if found.members - {node} and cookie != found.cookie:
        return (
            f"rabbitmq_erlang_cookie is not the one that the cluster of {node} has, so it would lose sight of the "
            f"others: write what is in {COOKIE} of this host into the vault."
        )
    return None


def disunity(looks: Iterable[Mapping[str, Any]]) -> str:
    """Why the data of several hosts, each with ``node``, ``data`` and ``members``, is not that of one cluster."""
    looks = list(looks)
    clusters: list[set[str]] = []
    for each in looks:
        mine = set(each["members"]) or ({each["node"]} if each["data"] else set())
        apart = [cluster for cluster in clusters if not cluster & mine]
        joined = mine.union(*(cluster for cluster in clusters if cluster & mine))
        clusters = [*apart, joined] if joined else apart
    if len(clusters) > 1:
        sides = "; ".join(", ".join(sorted(cluster)) for cluster in sorted(clusters, key=sorted))
        return (
            f"The hosts of the group 'broker' hold the data of clusters of their own ({sides}), and nothing is ever "
            "reset here: leave the hosts of one of them in the group, or, where nobody needs the data of a host, stop "
            f"its rabbitmq-server and move {DATA} away."
        )
    known = {node for cluster in clusters for node in cluster}
    if lost := sorted(each["node"] for each in looks if not each["data"] and each["node"] in known):
        return (
            f"{', '.join(lost)} belongs to the cluster, but its host holds no data of it, as after a change of its "
            f"disk: take it out of the cluster first, with {FORGET}{lost[0]}, then run this again."
        )
    return ""


# --- a running cluster, as `rabbitmqctl cluster_status --formatter json` shows it -------------------------------------


def all_members(status: Mapping[str, Any]) -> set[str]:
    """Every node of the cluster, running or not."""
    return {*status["disk_nodes"], *status.get("ram_nodes", [])}


def not_running(status: Mapping[str, Any]) -> list[str]:
    """The members that are down."""
    return sorted(all_members(status) - set(status["running_nodes"]))


def may_restart(status: Mapping[str, Any], node: str) -> str | None:
    """Why a node of a cluster must not be restarted now."""
    left = f"so {node} was not restarted, and the cluster goes on serving as it is"
    if down := [name for name in not_running(status) if name != node]:
        return (
            f"{', '.join(down)} does not run, {left}: start it (systemctl start rabbitmq-server), or take it out of "
            f"the cluster with {FORGET}{down[0]}, then run this again."
        )
    if status.get("partitions"):
        return (
            f"The cluster has fallen apart ({', '.join(sorted(status['partitions']))} see less than all of it), "
            f"{left}: mend the network between the nodes, then run this again."
        )
    states = status.get("maintenance_status") or {}
    if drained := sorted(name for name, state in states.items() if name != node and state == "under maintenance"):
        return (
            f"{', '.join(drained)} is drained, {left}: bring it back with 'rabbitmq-upgrade revive' there, then run "
            "this again."
        )
    return None


def unjoined(status: Mapping[str, Any], nodes: Collection[str]) -> str | None:
    """Why the cluster is not these nodes, all of them running."""
    there = all_members(status)
    if missing := sorted(set(nodes) - there):
        return (
            f"{', '.join(missing)} did not join {', '.join(sorted(there))}: see /var/log/rabbitmq there, and whether "
            "the nodes reach each other at the ports 4369, 25672 and 35672 to 35682."
        )
    if down := [name for name in not_running(status) if name in nodes]:
        return f"{', '.join(down)} belongs to the cluster and does not run: see /var/log/rabbitmq there."
    return None


# --- members of quorum queues, as `rabbitmqctl list_queues name type leader members online` shows them ----------------


def quorum_queues(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The queues that have members."""
    return [row for row in rows if "quorum" in str(row.get("type"))]


def lacking_members(rows: Iterable[Mapping[str, Any]], nodes: Iterable[str]) -> dict[str, list[str]]:
    """Nodes on which quorum queues have no member, with these queues."""
    queues = quorum_queues(rows)
    lacking = {node: [row["name"] for row in queues if node not in (row.get("members") or [])] for node in nodes}
    return {node: names for node, names in lacking.items() if names}


def all_online(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether there are quorum queues, and all their members are there."""
    queues = quorum_queues(rows)
    return bool(queues) and all(set(row.get("members") or []) <= set(row.get("online") or []) for row in queues)


def leaders(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The node that leads each quorum queue, of those that have a leader."""
    return {row["name"]: row["leader"] for row in quorum_queues(rows) if row.get("leader")}


def crowded(rows: Iterable[Mapping[str, Any]], nodes: Collection[str]) -> list[str]:
    """Nodes that lead more queues than each would if all led as many, as RabbitMQ counts when it rebalances."""
    leading = list(leaders(rows).values())
    share = -(-len(leading) // len(nodes))
    return sorted({node for node in leading if leading.count(node) > share})


def may_be_forgotten(status: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], node: str) -> str | None:
    """Why a node must not be taken out of its cluster."""
    known = all_members(status)
    if node not in known:
        return f"{node} is no member of the cluster: write -e node= with one of {', '.join(sorted(known))}."
    if node in status["running_nodes"]:
        return (
            f"{node} runs: stop it first, on its host, for good (systemctl disable --now rabbitmq-server); what it "
            "alone has not handed on yet would be lost otherwise."
        )
    for row in quorum_queues(rows):
        those, there = set(row.get("members") or []), set(row.get("online") or [])
        if node in those and len(those & there - {node}) * 2 <= len(those):
            return (
                f"The queue {row['name']} has no majority without {node} ({len(there - {node})} of {len(those)} "
                "members): start the other nodes first."
            )
    return None
