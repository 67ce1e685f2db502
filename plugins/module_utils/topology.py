# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host runs what, read from an inventory's groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from multiprocessing import parent_process
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.plan import KINDS

#: The roles that a member of an inventory group carries; the broker's is the kind of broker itself.
SERVICES = {
    "backend": ("redis",),
    "tracker": ("bugsink",),
    "worker": ("app", "sentry", "worker"),
    "beat": ("app", "sentry", "beat"),
    "monitor": ("flower",),
}


def make_topology(groups: Mapping[str, list[str]], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Hosts of each service with the address the others reach them at; and ``problems``, what the plan must refuse.

    On a single machine everything speaks over loopback. On several, a host's address is its ``celery_address``,
    else its default IPv4 address from the facts.
    """
    members = {kind: list(groups.get(kind) or []) for kind in KINDS}
    everyone = list(dict.fromkeys(name for names in members.values() for name in names))
    addresses = {everyone[0]: "127.0.0.1"} if len(everyone) == 1 else {n: _address(hostvars[n]) for n in everyone}
    topology: dict[str, list[Any]] = {
        kind: [{"name": name, "address": addresses[name]} for name in names] for kind, names in members.items()
    }
    if len(topology["broker"]) > 1:
        for entry in topology["broker"]:
            entry["node"] = _node(hostvars[entry["name"]])
    topology["problems"] = _problems(everyone, addresses, hostvars) + _cookies(members["broker"], hostvars)
    return topology


#: What topology_of has found, in the process of one task.
_found: dict[str, list[Any]] = {}


def topology_of(groups: Mapping[str, list[str]], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The same, looked for once in a task: templates ask for it over and over, and it looks at every host."""
    if parent_process() is None:  # ansible-playbook itself, which goes on from task to task
        return make_topology(groups, hostvars)
    if not _found:
        _found.update(make_topology(groups, hostvars))
    return _found


def _address(variables: Mapping[str, Any]) -> str:
    facts = variables.get("ansible_facts") or {}
    default = facts.get("default_ipv4") or {}
    return str(variables.get("celery_address") or default.get("address") or "")


def _node(variables: Mapping[str, Any]) -> str:
    """The name of a host's RabbitMQ node, as its role's default derives it; empty where no facts tell it."""
    hostname = (variables.get("ansible_facts") or {}).get("hostname")
    return str(variables.get("rabbitmq_node_name") or (f"rabbit@{hostname}" if hostname else ""))


def _cookies(brokers: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Nodes that do not share a cookie would each begin a cluster of its own."""
    if len({hostvars[name].get("rabbitmq_erlang_cookie") or "" for name in brokers}) < 2:
        return []
    return [
        f"rabbitmq_erlang_cookie differs between {', '.join(brokers)}, so they could not form a cluster; write it "
        "once, for all of them, into the vault of group_vars/all"
    ]


def _problems(
    everyone: list[str], addresses: Mapping[str, str], hostvars: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    problems = []
    if nowhere := [name for name in everyone if not addresses[name]]:
        problems.append(
            f"celery_address is not set for {', '.join(nowhere)}, and no facts tell it; write the private address "
            "of each host into the inventory"
        )
    workers = {name: hostvars[name].get("celery_workers") for name in everyone}
    if any(declared != workers[everyone[0]] for declared in workers.values()):
        problems.append(
            "celery_workers differs between hosts, so the broker could miss a queue that a worker consumes; "
            "declare it once in group_vars/all and place an entry with its 'hosts' key"
        )
    return problems


def address_of(topology: Mapping[str, Iterable[Mapping[str, str]]], host: str) -> str:
    """The private address of one host of a topology; loopback where the host stands alone."""
    hosts = (entry for kind in KINDS for entry in topology.get(kind, ()))
    return next((entry["address"] for entry in hosts if entry["name"] == host), "127.0.0.1")


def services_of(groups: Iterable[str], broker: str) -> list[str]:
    """Roles of a host that is in these groups, each once."""
    roles = SERVICES | {"broker": (broker,) if broker in ("rabbitmq", "redis") else ()}
    return list(dict.fromkeys(role for group in KINDS if group in set(groups) for role in roles[group]))
