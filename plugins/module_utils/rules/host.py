# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host itself makes impossible: from what the module host_facts found there to sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils import ownership
from ansible_collections.celeryops.stack.plugins.module_utils.rules.values import bytes_of

#: Debian's releases that this collection is tested on.
SUPPORTED = {"12": "bookworm", "13": "trixie"}
PYTHON = (3, 11)
SYSTEMD = 252
MIB = 1024**2
#: Bytes that must be free wherever something is written, and where that is.
FREE = 256 * MIB
PLACES = ("/etc", "/opt", "/var/lib", "/var/log")

#: Variables of the ports and addresses that a service listens on; its units' names begin with the service's.
PORTS = {
    "rabbitmq": (
        ("rabbitmq_port", "rabbitmq_address"),
        ("rabbitmq_management_port", "rabbitmq_management_address"),
        ("rabbitmq_prometheus_port", "rabbitmq_prometheus_address"),
    ),
    "redis": (("redis_port", "redis_address"),),
    "flower": (("flower_port", "flower_address"),),
    "bugsink": (("bugsink_port", "bugsink_address"),),
}
#: The most memory of a service, and how many units may take it.
MEMORY = {
    "beat": ("beat_memory_max", 1),
    "bugsink": ("bugsink_memory_max", 2),
    "flower": ("flower_memory_max", 1),
    "redis": ("redis_maxmemory", 1),
}
#: Where a service keeps its data, what it may come to, and how many times that (Redis rewrites its file beside it).
DATA = {
    "rabbitmq": ("/var/lib/rabbitmq", "rabbitmq_disk_free_limit", 1),
    "redis": ("/var/lib/redis", "redis_maxmemory", 2),
}


def problems(
    facts: Mapping[str, Any],
    services: Mapping[str, Mapping[str, Any]],
    plan: Mapping[str, Any],
    skew: object = None,
    names: Collection[str] = (),
) -> list[str]:
    """One sentence for each fault.

    Args:
        facts: what the module host_facts returned.
        services: the values of each role of this host, by the role's name.
        plan: the host's plan; empty where there is none.
        skew: seconds that the host's clock may differ from the controller's.
        names: of the deployment, now and before.
    """
    return [
        *filter(None, [ownership.problem(facts.get("deployment") or {}, names)]),
        *_system(facts),
        *_python(facts),
        *_memory(facts.get("memory"), services, plan),
        *_disks(facts.get("free") or {}, services),
        *_clock(facts.get("clock") or (), skew),
        *_taken(facts.get("listening") or [], services),
    ]


def same_port(services: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Two services of one host that would listen on one port."""
    holders: dict[str, str] = {}
    found = []
    for service, variable, port, _where in _ports(services):
        holder = holders.setdefault(str(port), variable)
        if holder.split("_", 1)[0] != service:
            found.append(f"{holder} and {variable} are both {port} on one host; give one of them another port")
    return found


def _ports(services: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, str, int, str]]:
    for service, pairs in PORTS.items():
        for port, address in pairs if service in services else ():
            if str(services[service].get(port)).isdigit():
                yield service, port, int(services[service][port]), str(services[service].get(address))


def _system(facts: Mapping[str, Any]) -> list[str]:
    name, version = str(facts.get("system") or "unknown"), str(facts.get("version") or "")
    found = []
    if name != "debian" or version not in SUPPORTED:
        known = " and ".join(f"{number} ({codename})" for number, codename in SUPPORTED.items())
        found.append(
            f"the host runs {f'{name} {version}'.strip()}, on which nothing here was ever tested; "
            f"use Debian {known}, the supported ones"
        )
    systemd = facts.get("systemd")
    if not isinstance(systemd, int) or systemd < SYSTEMD:
        was = f"systemd {systemd}" if systemd else "no systemd"
        found.append(f"the host has {was}, and units here need {SYSTEMD} or newer; use one of the supported systems")
    return found


def _python(facts: Mapping[str, Any]) -> list[str]:
    path, version = facts.get("python_path"), facts.get("python")
    needed = ".".join(map(str, PYTHON))
    if not version:
        return [f"celery_python is {path}, which is not on the host; write the path of a Python {needed} or newer"]
    if tuple(version[:2]) < PYTHON:
        was = ".".join(map(str, version))
        return [f"celery_python is {path}, a Python {was}; write the path of one that is {needed} or newer"]
    return []


def _memory(total: Any, services: Mapping[str, Mapping[str, Any]], plan: Mapping[str, Any]) -> list[str]:
    parts: dict[str, int] = {}
    for unit in plan.get("units") or () if "worker" in services else ():
        if unit["memory_max"]:
            name = f"memory_max of {unit['worker']}"
            parts[name] = parts.get(name, 0) + unit["memory_max"]
    for service, (variable, units) in MEMORY.items():
        if service in services and (size := bytes_of(services[service].get(variable))):
            parts[variable] = size * units
    needed = sum(parts.values())
    if not total or needed <= total:
        return []
    listed = ", ".join(f"{name} {size // MIB}M" for name, size in sorted(parts.items(), key=lambda part: -part[1]))
    return [
        f"the host has {total // MIB}M of memory, and its units may take {needed // MIB}M ({listed}); "
        "lower some of them, or move services to another host"
    ]


def _disks(free: Mapping[str, int], services: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found, small = [], set()
    for place in PLACES:
        mount, left = _mount_of(place, free)
        if left is not None and left < FREE and mount not in small:
            small.add(mount)
            found.append(
                f"the file system {mount} has {left // MIB}M free, and a deployment needs {FREE // MIB}M; make room"
            )
    for service, (place, variable, times) in DATA.items():
        size = bytes_of(services[service].get(variable)) if service in services else None
        mount, left = _mount_of(place, free)
        if size and left is not None and left < size * times and mount not in small:
            found.append(
                f"the file system {mount} has {left // MIB}M free, and {variable} needs {size * times // MIB}M of it "
                f"in {place}; make room, or write a smaller {variable}"
            )
    return found


def _mount_of(place: str, free: Mapping[str, int]) -> tuple[str, int | None]:
    """The file system that a path is on, and the bytes that are free there."""
    over = [mount for mount in free if mount == "/" or place == mount or place.startswith(f"{mount}/")]
    mount = max(over, key=len, default="")
    return mount, free.get(mount)


def _clock(bounds: Iterable[float], limit: object) -> list[str]:
    """``bounds``: the difference lies between these, as the host's time was read between two looks at our own."""
    low, high = [*bounds, 0.0, 0.0][:2]
    if limit is None or (low <= float(str(limit)) and high >= -float(str(limit))):
        return []
    seconds, way = (low, "ahead of") if low > 0 else (-high, "behind")
    return [
        f"the host's clock is at least {seconds:.0f} s {way} this machine's, and celery_clock_skew allows {limit}; let "
        "both keep the time of the network (systemd-timesyncd or chrony)"
    ]


def _taken(listening: Iterable[Mapping[str, Any]], services: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Ports that somebody else has."""
    found = []
    for service, variable, port, address in _ports(services):
        for listener in listening:
            here = listener["address"] in (address, "0.0.0.0", "::", "127.0.0.1", "::1")  # noqa: S104 - compared only
            if listener["port"] == port and here and not str(listener["unit"]).startswith(service):
                found.append(
                    f"{variable} is {port}, where {listener['unit'] or 'a process without a unit'} listens already on "
                    f"{listener['address']}; stop that, or write another port"
                )
                break
    return found
