# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong between hosts: what no host's own values can tell."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.plan import KINDS
from ansible_collections.celeryops.stack.plugins.module_utils.rules.values import truth

#: Groups that are not ours, however much they look like it.
_FOREIGN = ("all", "ungrouped")
#: What hosts must agree on to meet at the broker, with its default; none where not every host needs it.
COMMON: dict[str, object] = {
    "celery_broker_password": None,
    "celery_broker_user": "celery",
    "celery_default_queue": None,
    "celery_generation": 1,
    "celery_monitor_password": None,
    "celery_producer_password": None,
    "celery_result_password": None,
    "celery_result_user": "results",
    "celery_routes": None,
    "celery_tls": False,
    "celery_vhost": "celery",
}
_HOST = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.:-]*\Z")


def problems(groups: Mapping[str, list[str]], hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence for each fault; ``hosts`` has the variables of every host of our groups."""
    found = _groups(groups)
    if not hosts:
        return found
    found += [
        f"the inventory's host {name!r} would be part of its workers' names; rename it with letters, digits, '.', '_' "
        "and '-' only, and put the rest into ansible_host"
        for name in hosts
        if not _HOST.match(name)
    ]
    found += _same(hosts)
    found += _differing(hosts)
    found += _needs(groups, hosts)
    return found


def _groups(groups: Mapping[str, list[str]]) -> list[str]:
    used = [kind for kind in KINDS if groups.get(kind)]
    found = []
    for name in groups:
        near = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.8)
        if name not in (*KINDS, *_FOREIGN) and near and near[0] not in used:
            found.append(
                f"the inventory has a group '{name}', and '{near[0]}' is empty (did you mean '{near[0]}'?); rename it"
            )
    if not used:
        found.append(
            f"the inventory has no host in any of the groups {', '.join(KINDS)}, so there is nothing to do; "
            "name the right inventory with -i, or put hosts into the groups"
        )
    elif "worker" not in used and not any("'worker' is empty" in said for said in found):
        found.append("the inventory group 'worker' is empty, so no task would ever run; put at least one host into it")
    return found


def _same(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One machine, or one address, under two names: the second would overwrite the first's units."""
    found = []
    for names in _shared({name: _way(name, variables) for name, variables in hosts.items()}):
        found.append(
            f"{' and '.join(names)} are one machine by their ansible_host and ansible_port, so each would overwrite "
            "the other's units; leave one of them in the inventory"
        )
    addresses = {name: str(variables.get("celery_address") or "") for name, variables in hosts.items()}
    for names in _shared(addresses):
        found.append(
            f"celery_address is {addresses[names[0]]} on {' and '.join(names)}; write each host's own private address"
        )
    found += [
        f"celery_address of {name} is {address!r}, which is no IPv4 address; write its private one, such as 10.0.0.5"
        for name, address in addresses.items()
        if address and address != "localhost" and not _is_ipv4(address)
    ]
    if len(hosts) > 1:
        found += [
            f"celery_address of {name} is {address}, where no other host can reach it; write its private address"
            for name, address in addresses.items()
            if address.startswith("127.") or address == "localhost"
        ]
    return found


def _differing(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What some hosts know differently. Values are not shown."""
    found = []
    for variable, default in COMMON.items():
        values = {name: variables.get(variable) or default for name, variables in hosts.items()}
        meant = truth if isinstance(default, bool) else str
        given = {name: meant(value) for name, value in values.items() if value is not None}
        first = next(iter(given), "")
        if others := [name for name, value in given.items() if value != given[first]]:
            found.append(
                f"{variable} of {', '.join(others)} is another than that of {first}, and all hosts must share it; "
                "write it once, into group_vars/all"
            )
    return found


def _is_ipv4(text: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(text))
    except ValueError:
        return False


def _way(name: str, variables: Mapping[str, Any]) -> str:
    """How Ansible reaches a host; empty where a connection of another kind says nothing about it."""
    if str(variables.get("ansible_connection") or "ssh") not in ("ssh", "smart", "paramiko"):
        return ""
    return f"{variables.get('ansible_host') or name}:{variables.get('ansible_port') or 22}"


def _shared(values: Mapping[str, str]) -> Iterable[list[str]]:
    by_value: dict[str, list[str]] = {}
    for name, value in values.items():
        by_value.setdefault(value, []).append(name)
    return [names for value, names in by_value.items() if value and len(names) > 1]


def _needs(groups: Mapping[str, list[str]], hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is declared, and has no host."""
    found = []
    settings = [variables.get("celery_settings") for variables in hosts.values()]
    if not groups.get("beat") and any(isinstance(each, Mapping) and each.get("beat_schedule") for each in settings):
        found.append(
            "celery_settings.beat_schedule is set, but the inventory group 'beat' is empty, so nothing of it would "
            "ever be sent; put exactly one host into the group"
        )
    if not groups.get("monitor") and any(variables.get("flower_user") for variables in hosts.values()):
        found.append(
            "flower_user is set, but the inventory group 'monitor' is empty, so no Flower would run; put a host into "
            "the group, or remove flower_user"
        )
    return found
