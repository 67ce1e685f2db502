# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be true on a host, derived from its facts alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from verification.facts import Deployment, Host
from verification.parsing import seconds

#: Options of the sandbox that systemd shows in another form than they are written in.
SHOWN_OTHERWISE = {"SystemCallFilter", "SystemCallErrorNumber"}
#: Options that hold a set of words.
SETS = {"RestrictAddressFamilies"}
#: How systemd spells the number of a signal.
SIGTERM = "15"


def services(host: Host, group: str | None = None) -> list[str]:
    """The units that run on this host for one of its groups, or for all of them."""
    plan = host.plan
    redis = ["redis-server.service", *(["redis-sentinel.service"] if replicated(host) else [])]
    of_group = {
        "broker": {"rabbitmq": ["rabbitmq-server.service"], "redis": redis}.get(plan["broker"]["kind"], []),
        "backend": redis,
        "tracker": ["bugsink.service", "bugsink-snappea.service"],
        "worker": ["celery-workers.target", "celery-probe.timer", *(unit["name"] for unit in plan["units"])],
        "beat": [plan["beat"]["unit"]],
        "monitor": ["flower.service"],
    }
    groups = [group] if group else sorted(of_group)
    return list(dict.fromkeys(unit for name in groups if name in host.groups for unit in of_group[name]))


def replicated(host: Host) -> bool:
    """Whether its Redis is one of several."""
    return len(host.plan["redis"]["hosts"]) > 1


def listening(host: Host) -> dict[str, tuple[str, int]]:
    """Where this host's services wait for connections that may come from elsewhere, by the service's name."""
    found: dict[str, tuple[str, int]] = {}
    kind = host.plan["broker"]["kind"]
    if "broker" in host.groups and kind == "rabbitmq":
        found["rabbitmq"] = (host["rabbitmq_address"], int(host["rabbitmq_port"]))
        found["management"] = (host["rabbitmq_management_address"], int(host["rabbitmq_management_port"]))
        found["prometheus"] = (host["rabbitmq_prometheus_address"], int(host["rabbitmq_prometheus_port"]))
        for node in host["rabbitmq_nodes"]:
            if node["name"] == host["rabbitmq_node_name"]:
                found["port mapper"], found["inter-node"] = (node["address"], 4369), (node["address"], 25672)
    if "backend" in host.groups or ("broker" in host.groups and kind == "redis"):
        found["redis"] = (host["redis_address"], int(host["redis_port"]))
        if replicated(host):
            found["sentinel"] = (host["redis_address"], int(host["redis_sentinel_port"]))
    if "monitor" in host.groups:
        found["flower"] = (host["flower_address"], int(host["flower_port"]))
    if "tracker" in host.groups:
        found["bugsink"] = (host["bugsink_address"], int(host["bugsink_port"]))
    return found


def encrypted(host: Host) -> dict[str, str]:
    """The services of this host that speak TLS only, each with the folder of its certificate."""
    switches = {"rabbitmq": "rabbitmq", "management": "rabbitmq", "redis": "redis", "sentinel": "redis"}
    here = listening(host)
    return {name: f"/etc/{of}/tls" for name, of in switches.items() if name in here and host.says(f"{of}_tls")}


def worker_properties(host: Host, unit: Mapping[str, Any]) -> dict[str, Any]:
    """What systemd must have made of one unit of the plan."""
    options: dict[str, Any] = {
        "Type": "notify",
        "User": host["celery_user"],
        "KillMode": "mixed",
        "KillSignal": SIGTERM,
        "TimeoutStopUSec": unit["timeout_stop"],
        "TimeoutStartUSec": unit["timeout_start"],
        "WatchdogUSec": unit["watchdog"] or 0,
        "Restart": "always",
        "RestartUSec": unit["restart_sec"],
        "StartLimitIntervalUSec": 0,
        "TasksMax": unit["tasks_max"],
        "LimitNOFILE": unit["nofile"],
        "Slice": unit["slice"],
        "MemoryMax": unit["memory_max"] or "infinity",
    }
    for name, value in host["celery_process_sandbox"].items():
        if name not in SHOWN_OTHERWISE and not isinstance(value, (list, tuple)):
            options[name] = value
    return options


def exposure(host: Host) -> dict[str, float]:
    """How open each unit of ours may be by ``systemd-analyze security``, where nobody opened it on purpose."""
    plan = host.plan
    limits = {
        ("worker", "celery_service_options"): (2.0, [unit["name"] for unit in plan["units"]]),
        ("beat", "celery_service_options"): (2.0, [plan["beat"]["unit"]]),
        ("worker", ""): (2.0, ["celery-probe.service"]),
        ("monitor", "flower_service_options"): (2.5, ["flower.service"]),
        ("tracker", "bugsink_service_options"): (2.5, ["bugsink.service", "bugsink-snappea.service"]),
    }
    return {
        unit: limit
        for (group, opened), (limit, units) in limits.items()
        if group in host.groups and not (opened and host[opened])
        for unit in units
    }


def unlimited(host: Host, unit: str, name: str) -> bool:
    """Whether the plan sets no such limit: a worker has as much memory as its entry says."""
    planned = {worker["name"]: worker["memory_max"] for worker in host.plan["units"]}
    return name == "MemoryMax" and unit in planned and planned[unit] is None


def agrees(name: str, shown: str, wanted: Any) -> bool:
    """Whether what systemd shows for a property is what was wanted."""
    if name in SETS:
        return set(shown.split()) == set(str(wanted).split())
    if name.endswith("USec"):
        return seconds(shown) == float(wanted)
    if isinstance(wanted, bool):
        return shown == ("yes" if wanted else "no")
    return shown == str(wanted)


def worker_options(unit: Mapping[str, Any]) -> dict[str, str]:
    """The options that Celery's worker must have been started with."""
    numbers = {
        "concurrency": unit["concurrency"],
        "prefetch-multiplier": unit["prefetch_multiplier"],
        "soft-time-limit": unit["soft_time_limit"],
        "time-limit": unit["time_limit"],
        "max-tasks-per-child": unit["max_tasks_per_child"],
        "max-memory-per-child": unit["max_memory_per_child"],
    }
    texts = {
        "hostname": unit["node"],
        "queues": ",".join(unit["queues"]),
        "pool": unit["pool"],
        "loglevel": unit["log_level"],
        "stop-timeout": str(unit["timeout_stop"]),
    }
    if unit["delivery"] != "at_least_once":
        texts["delivery"] = unit["delivery"]
    if not unit["events"]:
        texts["no-events"] = ""
    return texts | {name: str(number) for name, number in numbers.items() if number is not None}


def settings(host: Host, unit: Mapping[str, Any]) -> dict[str, Any]:
    """The plan's settings as they are in force in a worker."""
    shared: dict[str, Any] = json.loads(json.dumps(host.plan["settings"]))
    once = {"task_acks_late": False, "task_reject_on_worker_lost": False}
    return shared | (once if unit["delivery"] == "at_most_once" else {})


def consumers(deployment: Deployment) -> dict[str, int]:
    """How many consumers each queue must have."""
    counts = dict.fromkeys(deployment.plan["broker"]["queues"], 0)
    for host in deployment.members("worker"):
        for unit in host.plan["units"]:
            for queue in unit["queues"]:
                counts[queue] += 1
    return counts


def permissions(host: Host) -> set[tuple[str, str, str, str]]:
    """Every right on the broker's virtual host, the administrator's included: user, configure, write, read."""
    of_user = {user["name"]: user["permissions"] for user in host.plan["broker"]["users"]}
    of_user[host["rabbitmq_admin_user"]] = dict.fromkeys(("configure", "write", "read"), ".*")
    return {(user, rights["configure"], rights["write"], rights["read"]) for user, rights in of_user.items()}


def former_users(host: Host) -> set[str]:
    """Users of former generations, which may be there until a rotation is over."""
    return {name for user in host.plan["broker"]["users"] for name in user["former"]}


def user_of(url: str) -> str:
    """Who connects by a URL."""
    return unquote(urlsplit(url.split(";")[0]).username or "")


def with_login(url: str, user: str, password: str) -> str:
    """The same place, or places, as somebody with a password."""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return ";".join(f"{part.split('://')[0]}://{login}@{part.rpartition('@')[2]}" for part in url.split(";"))


def without_retired(definitions: Mapping[str, Any], broker: Mapping[str, Any]) -> dict[str, Any]:
    """A broker's definitions without what queues have that are no longer declared, and not yet deleted."""
    patterns = {"policies": ("pattern",), "permissions": ("configure", "write", "read")}
    shown: dict[str, Any] = json.loads(json.dumps(definitions))
    left = {binding["destination"] for binding in shown["bindings"] if by_own_name(binding)} - set(broker["queues"])
    for kind, keys in patterns.items():
        for item in shown[kind]:
            for key in keys:
                for name in left:
                    item[key] = item[key].replace(f"|^{re.escape(name)}$", "")
    return shown


def by_own_name(binding: Mapping[str, Any]) -> bool:
    """Whether a binding brings to a destination what is sent under its own name, now or delayed."""
    name = binding["destination"]
    return binding["routing_key"] in (name, f"#.{name}")


def lacking(planned: Mapping[str, Any], found: list[Mapping[str, Any]]) -> bool:
    """Whether none of the found objects has all that is planned for this one."""
    return not any(all(other.get(key) == value for key, value in planned.items()) for other in found)


def secret_places(host: Host) -> list[str]:
    """Directories of which only root may read anything."""
    places = {"worker": "celery_etc", "beat": "celery_etc", "monitor": "flower_etc", "tracker": "bugsink_etc"}
    found = []
    for group, variable in places.items():
        if group in host.groups:
            found.append(f"{host[variable]}/credentials" if variable == "celery_etc" else host[variable])
            if variable == "celery_etc" and host.plan["broker"]["producer_user"]:
                found.append(f"{host[variable]}/producer")
    return list(dict.fromkeys(found))
