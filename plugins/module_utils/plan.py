# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: one pure function from the declared workers to every derived number.

``make_plan`` takes the collection-wide ``celery_*`` variables and the name of one host, and returns everything
that the roles render: that host's units, the broker's objects, the Celery settings which producers and workers
share, and the addresses to reach them. It touches no host, no file and no clock, so the same input gives the
same plan on the controller, in the filter and in a test. All problems of the input are collected and raised
together, one sentence each.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

#: Seconds a worker may use beyond its longest hard limit before systemd kills what is left of it.
STOP_MARGIN = 30
#: RabbitMQ closes a channel that holds a delivery longer than this (the packages' default: 30 minutes).
#: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
CONSUMER_TIMEOUT_FLOOR = 1800
#: kombu's native delayed delivery counts seconds in this many bits, one exchange and one queue a bit.
DELAY_BITS = 28
DELAY_EXCHANGE = "celery_delayed_delivery"
DELIVERY_LIMIT = 20
#: RabbitMQ 4 counts a look at a message as a delivery and drops it after 20; what is dead must stay to be looked at.
#: (-1, which means no limit, is refused by 3.10.)
DEAD_DELIVERY_LIMIT = 1_000_000

#: What a host can be in, and an inventory group of the same name.
KINDS = ("broker", "backend", "tracker", "worker", "beat", "monitor")

EXCHANGE = "celery.tasks"  # not "celery": Celery's own default of that name is direct, and may be there already
DEAD_LETTER = "celery.dead"

#: Schemes that kombu speaks and that must never carry production tasks (practice 1 and its kin).
DATABASE_SCHEMES = ("sqla", "db", "sqlalchemy", "django", "sqlite", "postgresql", "postgres", "mysql", "mongodb")
TOY_SCHEMES = ("memory", "filesystem", "file", "consul", "etcd", "zookeeper", "slmq", "pyro", "qpid", "kafka+memory")
AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
REDIS_SCHEMES = ("redis", "rediss", "sentinel")

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
_SIZE = re.compile(r"^(\d+)\s*([KMGT]?)$", re.IGNORECASE)
_SIZE_FACTOR = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_APP = re.compile(r"^[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?$")

#: Keys of one entry of ``celery_workers``: what a value must be, and the default.
WORKER_KEYS: dict[str, tuple[str, Any]] = {
    "queues": ("names", None),
    "hosts": ("names", None),
    "profile": ("profile", "reliable"),
    "delivery": ("delivery", "at_least_once"),
    "pool": ("pool", "prefork"),
    "concurrency": ("count", 2),
    "instances": ("count", 1),
    "soft_time_limit": ("seconds", None),
    "time_limit": ("seconds", None),
    "stop_timeout": ("seconds", None),
    "prefetch_multiplier": ("count", 1),
    "max_tasks_per_child": ("count", 1000),
    "max_memory_per_child": ("size", None),
    "memory_max": ("size", None),
    "tasks_max": ("count", None),
    "nofile": ("count", 8192),
    "cpu_weight": ("count", 100),
    "watchdog": ("seconds", 60),
    "events": ("flag", True),
    "log_level": ("log level", "INFO"),
}
#: What a profile makes of the defaults above; whatever an entry says itself wins.
PROFILES: dict[str, dict[str, Any]] = {
    "reliable": {},
    "throughput": {"pool": "threads", "prefetch_multiplier": 64, "events": False, "log_level": "WARNING"},
}
#: Seconds that a stopping unit of the profile throughput waits for its threads, which nothing else limits.
THROUGHPUT_STOP_TIMEOUT = 60
#: Keys for which an empty value says something else than the default: no limit, or no watchdog.
NULLABLE = ("soft_time_limit", "time_limit", "max_tasks_per_child", "watchdog")
#: Keys that only the prefork pool heeds.
PREFORK_ONLY = ("soft_time_limit", "time_limit", "max_tasks_per_child", "max_memory_per_child")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
POOLS = ("prefork", "threads")
DELIVERIES = ("at_least_once", "at_most_once")
CHOICES: dict[str, tuple[str, ...]] = {
    "pool": POOLS,
    "profile": tuple(PROFILES),
    "delivery": DELIVERIES,
    "log level": LOG_LEVELS,
}
#: Seconds a task may take where nothing is said; its soft limit is four fifths of the hard one.
TIME_LIMIT = 300
DERIVED = "remove it: the plan derives it, and no task gets lost because of it"
#: Settings that the plan derives or that would break its promise; ``celery_settings`` may not set them.
RESERVED_SETTINGS: dict[str, str] = {
    "broker_url": "write celery_broker",
    "broker_read_url": "write celery_broker",
    "broker_write_url": "write celery_broker",
    "broker_transport_options": DERIVED,
    "broker_connection_max_retries": DERIVED,
    "broker_connection_retry_on_startup": DERIVED,
    "broker_native_delayed_delivery_queue_type": DERIVED,
    "task_acks_late": DERIVED,
    "task_acks_on_failure": DERIVED,
    "task_acks_on_timeout": DERIVED,
    "task_reject_on_worker_lost": DERIVED,
    "task_retry_on_worker_lost": DERIVED,
    "task_create_missing_queues": DERIVED,
    "task_default_exchange": DERIVED,
    "task_default_exchange_type": DERIVED,
    "task_default_routing_key": DERIVED,
    "task_publish_retry": DERIVED,
    "worker_cancel_long_running_tasks_on_connection_loss": DERIVED,
    "result_backend": "write celery_result_backend",
    "task_queues": "write celery_workers",
    "task_routes": "write celery_routes",
    "task_default_queue": "write celery_default_queue",
    "task_always_eager": "remove it: an eager task runs inside its caller and never reaches a worker",
    "task_serializer": "remove it: only json is spoken",
    "result_serializer": "remove it: only json is spoken",
    "accept_content": "remove it: only json is accepted",
    "result_accept_content": "remove it: only json is accepted",
}


#: Settings that the plan derives and that ``celery_settings`` may change all the same.
TUNABLE = (
    "broker_connection_timeout",
    "broker_heartbeat",
    "task_publish_retry_policy",
    "result_expires",
    "result_extended",
    "redis_socket_timeout",
    "redis_socket_connect_timeout",
    "redis_socket_keepalive",
    "redis_retry_on_timeout",
    "redis_backend_health_check_interval",
)


class PlanError(ValueError):
    """The declaration contradicts itself; ``problems`` holds one sentence for each fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def parse_size(value: object) -> int | None:
    """Bytes of ``1G``, ``512M``, ``64k`` or a plain number; None where the text is no size."""
    if isinstance(value, bool):
        return None
    match = _SIZE.match(str(value).strip())
    return int(match[1]) * _SIZE_FACTOR[match[2].upper()] if match else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt key: empty, or `` (did you mean 'x'?)``."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def slug(name: str) -> str:
    """The part of a unit's name that an entry of ``celery_workers`` gives."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def make_plan(values: Mapping[str, Any], host: str = "localhost") -> dict[str, Any]:
    """Derive the plan of one host.

    Args:
        values: the ``celery_*`` variables (see roles/celery/defaults/main.yml for each one's meaning and unit).
        host: inventory name of the host whose units are wanted.

    Raises:
        PlanError: with every problem found, before anything was derived.
    """
    problems: list[str] = []
    topology = _topology(values.get("celery_topology") or {}, host, problems)
    app = _app(values.get("celery_app"), problems)
    workers = _workers(values.get("celery_workers"), topology, problems)
    queues = _queues(workers, problems)
    _one_delivery(workers, problems)
    default_queue = _default_queue(values.get("celery_default_queue"), queues, problems)
    routes = _routes(values.get("celery_routes"), queues, problems)
    extra = _extra_settings(values.get("celery_settings"), problems)
    broker = _broker(values, topology, host, problems)
    backend = _backend(values, topology, host, problems)
    users = [user["name"] for user in _redis_users(broker, backend, topology, host)]
    if len(set(users)) < len(users):
        problems.append(
            f"celery_broker_user, celery_monitor_user and celery_result_user are {', '.join(sorted(users))} on one "
            "Redis, each with a password of its own; give them different names"
        )
    if problems:
        raise PlanError(problems)

    if broker["kind"] != "redis":
        broker["queues"] = queues
        broker["exchange"] = EXCHANGE
        broker["dead_letter_queue"] = DEAD_LETTER
        broker["consumer_timeout"] = _consumer_timeout(workers)
        broker["objects"] = _objects(queues, broker["vhost"])
        broker["permissions"] = _permissions(queues)
    settings = _settings(broker, backend, workers, queues, default_queue, routes) | extra
    return {
        "app": app,
        "broker": broker,
        "result_backend": backend,
        "settings": settings,
        "stamp": _stamp(settings),
        # Elsewhere is none of the hosts, so no address is loopback that need not be.
        "producer": _producer(settings, *(find(values, topology, "", [])["url"] for find in (_broker, _backend))),
        "workers": {name: spec for name, spec in workers.items() if host in spec["hosts"]},
        "units": _units(workers, host),
        "nodes": [unit["node"] for name in _names(topology["worker"]) for unit in _units(workers, name)],
        "redis_users": _redis_users(broker, backend, topology, host),
        "beat": {"unit": "celery-beat.service", "host": next(iter(_names(topology["beat"])), None)},
    }


# --- reading the declaration ------------------------------------------------------------------------------------


def _topology(given: Any, host: str, problems: list[str]) -> dict[str, list[dict[str, str]]]:
    """Hosts of each service; with no topology everything runs on this host and speaks over loopback."""
    here = [{"name": host, "address": "127.0.0.1"}]
    topology = {kind: list(given.get(kind) or []) for kind in KINDS}
    if not given:
        return dict.fromkeys(topology, here)
    problems += given.get("problems") or []
    if len(topology["beat"]) > 1:
        names = ", ".join(_names(topology["beat"]))
        problems.append(
            f"the inventory group 'beat' holds {len(topology['beat'])} hosts ({names}), which would send every "
            "scheduled task that many times; leave exactly one host in it"
        )
    return topology


def _names(hosts: Iterable[Mapping[str, str]]) -> list[str]:
    return [entry["name"] for entry in hosts]


def _address(entry: Mapping[str, str], host: str) -> str:
    return "127.0.0.1" if entry["name"] == host else entry["address"]


def _app(value: Any, problems: list[str]) -> str:
    if not value:
        problems.append(
            "celery_app is not set; write where your Celery application is, as module:attribute, "
            "for example 'shop.celery:app'"
        )
        return ""
    if not isinstance(value, str) or not _APP.match(value):
        problems.append(f"celery_app is {value!r}, which is not module:attribute; write it like 'shop.celery:app'")
        return ""
    return value


def _workers(given: Any, topology: Mapping[str, Any], problems: list[str]) -> dict[str, dict[str, Any]]:
    if not given:
        problems.append(
            "celery_workers names no worker, so no task would ever run; write at least one entry, "
            "for example 'default: {concurrency: 2, soft_time_limit: 240, time_limit: 300}'"
        )
        return {}
    if not isinstance(given, Mapping):
        problems.append(
            f"celery_workers is a {type(given).__name__}; write a mapping from a worker's name to its numbers, "
            "for example 'default: {concurrency: 2}'"
        )
        return {}
    workers: dict[str, dict[str, Any]] = {}
    unit_of: dict[str, str] = {}
    hosts = _names(topology["worker"])
    for raw_name, entry in given.items():
        name, where = str(raw_name), f"celery_workers[{str(raw_name)!r}]"
        if not _NAME.match(name):
            problems.append(f"{where}: the name may hold letters, digits, '.', '_' and '-' only; rename it")
            continue
        unit = slug(name)
        if unit in unit_of:
            problems.append(
                f"celery_workers: '{unit_of[unit]}' and '{name}' would both be the unit "
                f"celery-worker-{unit}@.service; rename one of them"
            )
            continue
        unit_of[unit] = name
        spec = _worker(name, unit, entry if entry is not None else {}, hosts, where, problems)
        if spec:
            workers[name] = spec
    return workers


def _worker(
    name: str, unit: str, entry: Any, hosts: list[str], where: str, problems: list[str]
) -> dict[str, Any] | None:
    """One entry, checked and completed with every derived number; None where it cannot be used."""
    if not isinstance(entry, Mapping):
        problems.append(f"{where} is {entry!r}; write a mapping, for example {{concurrency: 2}}")
        return None
    before = len(problems)
    for key in entry:
        if key not in WORKER_KEYS:
            problems.append(
                f"{where} has an unknown key {str(key)!r}{did_you_mean(str(key), WORKER_KEYS)}; "
                f"the keys are {', '.join(WORKER_KEYS)}"
            )
    profile = entry.get("profile")
    defaults = PROFILES.get(profile, {}) if isinstance(profile, str) else {}
    spec = {key: defaults.get(key, default) for key, (_, default) in WORKER_KEYS.items()}
    for key, value in entry.items():
        if key in WORKER_KEYS and value is not None:
            spec[key] = _value(WORKER_KEYS[key][0], value, f"{where}.{key}", problems)
        elif key in NULLABLE:
            spec[key] = None
    if len(problems) > before:
        return None
    _limits(spec, entry, where, problems)
    spec["queues"] = spec["queues"] or [name]
    if spec["hosts"]:
        strangers = [h for h in spec["hosts"] if h not in hosts]
        if strangers:
            problems.append(
                f"{where}.hosts names {', '.join(strangers)}, not in the inventory group 'worker'; "
                f"write some of: {', '.join(hosts) or '(the group is empty)'}"
            )
    spec["hosts"] = spec["hosts"] or hosts
    if len(problems) > before:
        return None
    per_child = spec["max_memory_per_child"]
    spec["max_memory_per_child"] = per_child // 1024 if per_child else None  # Celery counts KiB
    spec["worker"] = name
    spec["unit"] = unit
    spec["timeout_stop"] = spec.pop("stop_timeout") or spec["time_limit"] + STOP_MARGIN
    spec["timeout_start"] = 90
    spec["restart_sec"] = 5
    spec["tasks_max"] = spec["tasks_max"] or max(512, spec["concurrency"] * 16)
    # A dash in a slice's name leads one level down: one slice an entry, all of them side by side.
    spec["slice"] = f"celery-worker-{unit.replace('-', '_')}.slice"
    return spec


def _limits(spec: dict[str, Any], entry: Mapping[str, Any], where: str, problems: list[str]) -> None:
    """The rules between the numbers of one worker."""
    if spec["watchdog"] is not None and spec["watchdog"] < 30:
        problems.append(f"{where}.watchdog is {spec['watchdog']} s, too short for a busy host; write 30 or more")
    if spec["pool"] == "threads":
        inert = [key for key in PREFORK_ONLY if key in entry]
        if inert:
            problems.append(
                f"{where}: the threads pool ignores {', '.join(inert)}; remove "
                f"{'it' if len(inert) == 1 else 'them'}, or write 'pool: prefork'"
            )
        if spec["stop_timeout"] is None and spec["profile"] == "throughput":
            spec["stop_timeout"] = THROUGHPUT_STOP_TIMEOUT
        if spec["stop_timeout"] is None:
            problems.append(
                f"{where}: the threads pool has no time limits to derive a stop time-out from; "
                "write stop_timeout, the seconds its longest task may need"
            )
        spec.update(dict.fromkeys(PREFORK_ONLY))
        return
    for key in ("soft_time_limit", "time_limit"):
        if key in entry and spec[key] is None:
            problems.append(f"{where}.{key} is empty, so a task could run for ever; write a number of seconds")
            return
    soft, hard = spec["soft_time_limit"], spec["time_limit"]
    hard = hard or (soft * 5 // 4 + 1 if soft else TIME_LIMIT)
    soft = soft or hard * 4 // 5
    spec.update(soft_time_limit=soft, time_limit=hard)
    if hard < 2:
        problems.append(f"{where}.time_limit is {hard} s, which leaves no room for a soft limit; write 2 or more")
        return
    if soft >= hard:
        problems.append(
            f"{where}: soft_time_limit ({soft} s) is not below time_limit ({hard} s), which silently switches "
            f"the hard limit off; write a soft_time_limit of at most {max(hard - 1, 1)}"
        )
    if spec["stop_timeout"] is not None and spec["stop_timeout"] < hard + STOP_MARGIN:
        problems.append(
            f"{where}: stop_timeout ({spec['stop_timeout']} s) would kill a task that may run {hard} s; "
            f"write at least {hard + STOP_MARGIN}, or remove it"
        )
    per_child, whole = spec["max_memory_per_child"], spec["memory_max"]
    if per_child and whole and per_child * spec["concurrency"] > whole:
        problems.append(
            f"{where}: {spec['concurrency']} children of max_memory_per_child do not fit into memory_max; "
            f"write a memory_max of at least {per_child * spec['concurrency'] // 1024**2}M"
        )


def _value(kind: str, value: Any, where: str, problems: list[str]) -> Any:
    """A value of the asked kind; on a fault a sentence is added and None returned."""
    if kind in ("count", "seconds"):
        unit = " of seconds" if kind == "seconds" else ""
        number = int(value) if isinstance(value, (int, str)) and re.match(r"^\d+$", str(value)) else None
        if isinstance(value, bool) or number is None or number < 1:
            problems.append(f"{where} is {value!r}; write a whole number{unit}, 1 or more")
            return None
        return number
    if kind == "size":
        size = parse_size(value)
        if not size:
            problems.append(f"{where} is {value!r}; write a size such as 512M or 1G")
        return size
    if kind == "names":
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not names or not all(isinstance(n, str) and n for n in names):
            problems.append(f"{where} is {value!r}; write a list of names, for example [default]")
            return None
        return [str(n) for n in names]
    if kind == "flag":
        if not isinstance(value, bool):
            problems.append(f"{where} is {value!r}; write true or false")
            return None
        return value
    choices = CHOICES[kind]
    if value not in choices:
        problems.append(f"{where} is {value!r}{did_you_mean(str(value), choices)}; write one of {', '.join(choices)}")
        return None
    return str(value)


def _queues(workers: Mapping[str, Mapping[str, Any]], problems: list[str]) -> list[str]:
    """Every queue that somebody consumes, in the order of declaration."""
    queues = list(dict.fromkeys(queue for spec in workers.values() for queue in spec["queues"]))
    for queue in queues:
        if not _NAME.match(queue) or len(queue) > 100:
            problems.append(
                f"celery_workers: the queue name {queue!r} may hold letters, digits, '.', '_' and '-' only "
                "(100 at most); rename it"
            )
        elif queue.startswith(("amq.", "celery_delayed_", "celeryev")) or queue == DEAD_LETTER:
            problems.append(f"celery_workers: the queue name '{queue}' is used by the broker itself; rename it")
        # A delayed task arrives under '#.<queue>', which would also match a longer name that ends in it.
        for other in queues:
            if other != queue and other.endswith(f".{queue}"):
                problems.append(
                    f"celery_workers: a delayed task for the queue '{other}' would also be delivered to '{queue}', "
                    f"whose name is its last part; rename one of them, for example '{other.replace('.', '_')}'"
                )
    return queues


def _one_delivery(workers: Mapping[str, Mapping[str, Any]], problems: list[str]) -> None:
    """A queue is promised one thing: who takes from it must agree on what becomes of a task when a worker dies."""
    first: dict[str, tuple[str, str]] = {}
    for name, spec in workers.items():
        for queue in spec["queues"]:
            other, delivery = first.setdefault(queue, (name, spec["delivery"]))
            if delivery != spec["delivery"]:
                problems.append(
                    f"celery_workers: the queue '{queue}' is {delivery} in '{other}' and {spec['delivery']} in "
                    f"'{name}'; write the same delivery in both"
                )


def _default_queue(value: Any, queues: list[str], problems: list[str]) -> str:
    if value:
        if queues and value not in queues:
            problems.append(
                f"celery_default_queue is {str(value)!r}, which no entry of celery_workers consumes; "
                f"write one of {', '.join(queues)}"
            )
        return str(value)
    return "default" if "default" in queues or not queues else queues[0]


def _routes(given: Any, queues: list[str], problems: list[str]) -> dict[str, dict[str, str]]:
    if given and not isinstance(given, Mapping):
        problems.append("celery_routes is not a mapping; write it like {'shop.tasks.charge': critical}")
        return {}
    routes = {}
    for pattern, queue in (given or {}).items():
        if queues and queue not in queues:
            problems.append(
                f"celery_routes[{str(pattern)!r}] sends to the queue {str(queue)!r}, which no entry of celery_workers "
                f"consumes{did_you_mean(str(queue), queues)}; write one of {', '.join(queues)}, or add a worker for it"
            )
        routes[str(pattern)] = {"queue": str(queue)}
    return routes


def _extra_settings(given: Any, problems: list[str]) -> dict[str, Any]:
    if given and not isinstance(given, Mapping):
        problems.append("celery_settings is not a mapping; write Celery's lower-case settings, like {timezone: UTC}")
        return {}
    for key in given or {}:
        if key in RESERVED_SETTINGS:
            problems.append(f"celery_settings.{key} may not be set here; {RESERVED_SETTINGS[key]}")
        elif not isinstance(key, str) or not re.match(r"^[a-z][a-z0-9_]*$", key):
            problems.append(f"celery_settings has {str(key)!r}; write Celery's names in lower case, such as timezone")
    return dict(given or {})


# --- broker and result backend ----------------------------------------------------------------------------------


def _url_problem(variable: str, url: str, allowed: tuple[str, ...], what: str) -> str | None:
    """What is wrong with a URL that the user wrote, never repeating anything secret of it."""
    scheme = url.split(":", 1)[0].lower()
    family = scheme.split("+", 1)[0]
    remedy = f"write {what} or a URL that starts with {', '.join(s + '://' for s in allowed if s != 'pyamqp')}"
    if scheme in allowed:
        try:
            parts = urlsplit(url)
            password, host, _ = parts.password, parts.hostname, parts.port
        except ValueError:
            return f"{variable} is not a URL that can be read; write it like {allowed[0]}://user@host/vhost"
        if password is not None:
            secret = variable.removesuffix("_backend")
            return f"{variable} carries a password; write the URL without it and put it into {secret}_password (vault)"
        if not host:
            return f"{variable} names no host; write it like {allowed[0]}://user@host"
        return None
    if family in DATABASE_SCHEMES:
        return f"{variable} uses '{scheme}', a database, which loses and delays tasks under load; {remedy}"
    if family in TOY_SCHEMES:
        return f"{variable} uses '{scheme}', which is for tests and keeps no task safe; {remedy}"
    return f"{variable} is of the unknown kind {scheme[:40]!r}; {remedy}"


def _broker(values: Mapping[str, Any], topology: Mapping[str, Any], host: str, problems: list[str]) -> dict[str, Any]:
    kind = values.get("celery_broker") or "rabbitmq"
    user = values.get("celery_broker_user") or "celery"
    broker: dict[str, Any] = {
        "kind": kind,
        "user": user,
        "monitor_user": values.get("celery_monitor_user") or "monitor",
        "vhost": values.get("celery_vhost") or "celery",
        "nodes": [],
    }
    if kind in ("rabbitmq", "redis"):
        if not topology["broker"]:
            problems.append("the inventory group 'broker' is empty; put the host that is to run the broker into it")
        if kind == "rabbitmq":
            problems += _cluster_problems(topology["broker"])
            broker["nodes"] = _nodes(topology["broker"])
        elif len(topology["broker"]) > 1:
            names = ", ".join(_names(topology["broker"]))
            problems.append(
                f"the inventory group 'broker' holds {len(topology['broker'])} hosts ({names}), and clusters are not "
                "there yet: they would be as many brokers that know nothing of each other's tasks; leave one host in it"
            )
        addresses = [_address(entry, host) for entry in in_turn(topology["broker"], _turn(topology, host))]
        if kind == "rabbitmq":
            port = 5672
            urls = [f"amqp://{user}@{a}:{port}/{quote(broker['vhost'], safe='')}" for a in addresses]
        else:
            port = 6379
            urls = [f"redis://{user}@{a}:{port}/0" for a in addresses]
        return broker | {"hosts": addresses, "port": port, "url": ";".join(urls)}
    url = str(kind)
    problem = _url_problem("celery_broker", url, AMQP_SCHEMES + REDIS_SCHEMES, "rabbitmq, redis")
    if problem:
        problems.append(problem)
        return broker | {"kind": "rabbitmq", "hosts": [], "port": 0, "url": ""}
    parts = urlsplit(url)
    return broker | {
        "kind": "redis" if parts.scheme in REDIS_SCHEMES else "external",
        "user": parts.username or user,
        "vhost": parts.path[1:] or "/",
        "hosts": [parts.hostname],
        "port": parts.port or (6379 if parts.scheme in REDIS_SCHEMES else 5671 if parts.scheme == "amqps" else 5672),
        "url": url if parts.username else url.replace("://", f"://{user}@", 1),
    }


def _cluster_problems(brokers: Sequence[Mapping[str, str]]) -> list[str]:
    """What keeps several hosts from being one RabbitMQ cluster."""
    problems, count = [], len(brokers)
    if count and count % 2 == 0:
        problems.append(
            f"the inventory group 'broker' holds {count} hosts ({', '.join(_names(brokers))}), and an even number of "
            f"nodes survives no more losses than one fewer, while two halves that lose sight of each other both stop; "
            f"put {count + 1} hosts into it, or leave {count - 1}"
        )
    nodes: dict[str, list[str]] = {}
    for entry in brokers:
        nodes.setdefault(entry.get("node") or entry["name"], []).append(entry["name"])
    problems += [
        f"rabbitmq_node_name is {node} for {', '.join(names)}, and the nodes of a cluster need a name each; write "
        f"rabbitmq_node_name for each of these hosts, such as rabbit@{names[0]}"
        for node, names in nodes.items()
        if len(names) > 1
    ]
    return problems


def _nodes(brokers: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Name and address of each node of a RabbitMQ cluster; nothing where one stands alone."""
    return [{"name": e.get("node") or "", "address": e["address"]} for e in brokers] if len(brokers) > 1 else []


def _turn(topology: Mapping[str, Any], host: str) -> int:
    """Which turn at the brokers is this host's: a broker has itself first, the others take turns."""
    brokers, clients = _names(topology["broker"]), _names(e for kind in KINDS for e in topology[kind])
    order = brokers + [name for name in dict.fromkeys(clients) if name not in brokers]
    return order.index(host) if host in order else 0


def in_turn(brokers: Sequence[Mapping[str, str]], turn: int) -> list[Mapping[str, str]]:
    """The brokers in the order in which one client tries them: each turn begins with another one.

    So connections spread evenly; and as every other round goes the other way about, so do those of a broker that is
    lost.
    """
    first = turn % len(brokers) if brokers else 0
    rest = [*brokers[first + 1 :], *brokers[:first]]
    return [*brokers[first : first + 1], *(rest[::-1] if brokers and turn // len(brokers) % 2 else rest)]


def _backend(values: Mapping[str, Any], topology: Mapping[str, Any], host: str, problems: list[str]) -> dict[str, Any]:
    kind = values.get("celery_result_backend") or "redis"
    user = values.get("celery_result_user") or "results"
    if kind == "none":
        return {"kind": "none", "url": "", "user": user}
    if kind == "redis":
        if not topology["backend"]:
            problems.append(
                "the inventory group 'backend' is empty, so results have no place; put the Redis host into it, "
                "or write 'celery_result_backend: none'"
            )
            return {"kind": "redis", "url": "", "user": user}
        address, port, db = _address(topology["backend"][0], host), 6379, 1
        return {
            "kind": "redis",
            "host": address,
            "port": port,
            "db": db,
            "user": user,
            "url": f"redis://{user}@{address}:{port}/{db}",
        }
    url = str(kind)
    problem = _url_problem("celery_result_backend", url, REDIS_SCHEMES, "redis, none")
    if problem:
        problems.append(problem)
        return {"kind": "external", "url": "", "user": user}
    return {
        "kind": "external",
        "user": urlsplit(url).username or user,
        "url": url if urlsplit(url).username else url.replace("://", f"://{user}@", 1),
    }


def _redis_users(
    broker: Mapping[str, Any], backend: Mapping[str, Any], topology: Mapping[str, Any], host: str
) -> list[dict[str, str]]:
    """Users of the Redis on this host, and the variable that holds each one's password."""
    users = []
    if backend.get("host") and host in _names(topology["backend"]):
        users.append({"name": backend["user"], "password_in": "celery_result_password"})
    if broker["kind"] == "redis" and host in _names(topology["broker"]):
        users.append({"name": broker["user"], "password_in": "celery_broker_password"})
        users.append({"name": broker["monitor_user"], "password_in": "celery_monitor_password"})
    return users


def _longest_hold(workers: Mapping[str, Mapping[str, Any]]) -> int:
    """Seconds from a message's delivery to its acknowledgement: the wait behind the prefetched ones, and its run.

    One that is acknowledged before it runs (at_most_once) makes room for another to wait that long: no less to hold.
    """
    longest: int = max(
        (spec["time_limit"] or spec["timeout_stop"]) * (spec["prefetch_multiplier"] + 1) for spec in workers.values()
    )
    return longest + 60


def _consumer_timeout(workers: Mapping[str, Mapping[str, Any]]) -> int:
    """Milliseconds a delivery may stay unacknowledged."""
    return 1000 * max(CONSUMER_TIMEOUT_FLOOR, _longest_hold(workers))


def _objects(queues: list[str], vhost: str) -> dict[str, list[dict[str, Any]]]:
    """RabbitMQ's objects, in the format of its definitions file.

    All of it exists before the first worker starts: a worker that meets a missing queue goes on without native
    delayed delivery, and then countdowns and retries hold back what is queued behind them.
    """

    def exchange(name: str, kind: str = "topic") -> dict[str, Any]:
        flags = {"durable": True, "auto_delete": False, "internal": False}
        return {"name": name, "vhost": vhost, "type": kind, **flags, "arguments": {}}

    def queue(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": name,
            "vhost": vhost,
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-queue-type": "quorum", **arguments},
        }

    def binding(source: str, destination: str, key: str, kind: str = "queue") -> dict[str, Any]:
        return {
            "source": source,
            "vhost": vhost,
            "destination": destination,
            "destination_type": kind,
            "routing_key": key,
            "arguments": {},
        }

    exchanges = [exchange(EXCHANGE), exchange(DEAD_LETTER, "fanout"), exchange(DELAY_EXCHANGE)]
    declared = [queue(name, {}) for name in [*queues, DEAD_LETTER]]
    bindings = [binding(DEAD_LETTER, DEAD_LETTER, "")]
    for name in queues:
        bindings += [binding(EXCHANGE, name, name), binding(EXCHANGE, name, f"#.{name}")]
        bindings += [binding(DELAY_EXCHANGE, EXCHANGE, f"#.{name}", "exchange")]
    # The ladder of kombu.transport.native_delayed_delivery: level n keeps a message 2**n seconds or passes it on.
    for level in range(DELAY_BITS):
        here, below = f"celery_delayed_{level}", f"celery_delayed_{level - 1}" if level else DELAY_EXCHANGE
        skipped = "*." * (DELAY_BITS - 1 - level)
        exchanges.append(exchange(here))
        declared.append(
            queue(
                here,
                {
                    "x-overflow": "reject-publish",
                    "x-message-ttl": 2**level * 1000,
                    "x-dead-letter-exchange": below,
                    "x-dead-letter-strategy": "at-least-once",
                },
            )
        )
        bindings += [binding(here, here, f"{skipped}1.#"), binding(here, below, f"{skipped}0.#", "exchange")]
    policy = {
        "vhost": vhost,
        "name": "celery",
        "pattern": "^(" + "|".join(re.escape(name) for name in queues) + ")$",
        "apply-to": "queues",  # 'quorum_queues' stops the import half way on RabbitMQ 3.10
        "priority": 1,
        "definition": {
            "delivery-limit": DELIVERY_LIMIT,
            "dead-letter-exchange": DEAD_LETTER,
            "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
        },
    }
    keep = {
        "vhost": vhost,
        "name": "celery-dead",
        "pattern": f"^{re.escape(DEAD_LETTER)}$",
        "apply-to": "queues",
        "priority": 1,
        "definition": {"delivery-limit": DEAD_DELIVERY_LIMIT},
    }
    # A message that no binding takes, such as one with a routing key of its own, is confirmed and would vanish.
    unroutable = {
        "vhost": vhost,
        "name": "celery-unroutable",
        "pattern": f"^{re.escape(EXCHANGE)}$",
        "apply-to": "exchanges",
        "priority": 1,
        "definition": {"alternate-exchange": DEAD_LETTER},
    }
    policies = [policy, keep, unroutable]
    return {"exchanges": exchanges, "queues": declared, "bindings": bindings, "policies": policies}


def _permissions(queues: list[str]) -> dict[str, dict[str, str]]:
    """Least permissions: Celery (re-)declares its own objects, and nothing else may be touched."""
    own = [re.escape(name) for name in [*queues, EXCHANGE, DEAD_LETTER]]
    control = [r"celeryev(\..+)?", r"(.+\.)?(reply\.)?celery\.pidbox"]
    everything = "^(" + "|".join([*own, r"celery_delayed_.+", *control]) + ")$"
    monitoring = "^(" + "|".join(control) + ")$"
    return {
        "worker": {"configure": everything, "write": everything, "read": everything},
        "monitor": {"configure": monitoring, "write": monitoring, "read": monitoring},
    }


# --- what the processes see -------------------------------------------------------------------------------------


def _settings(
    broker: Mapping[str, Any],
    backend: Mapping[str, Any],
    workers: Mapping[str, Mapping[str, Any]],
    queues: list[str],
    default_queue: str,
    routes: Mapping[str, Any],
) -> dict[str, Any]:
    """Celery settings that every worker, beat and producer share."""
    amqp = broker["kind"] != "redis"
    arguments = {"x-queue-type": "quorum"} if amqp else {}
    exchange = {"exchange": EXCHANGE, "exchange_type": "topic" if amqp else "direct"}
    settings: dict[str, Any] = {
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 4,
        "task_default_queue": default_queue,
        "task_default_exchange": EXCHANGE,
        "task_default_exchange_type": exchange["exchange_type"],
        "task_default_routing_key": default_queue,
        "task_create_missing_queues": False,
        "task_queues": [{"name": q, "routing_key": q, "queue_arguments": arguments, **exchange} for q in queues],
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_acks_late": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_reject_on_worker_lost": True,
        # A task that kills its worker must not come back for ever. RabbitMQ counts its deliveries, and a retry would
        # be a message with a count of its own; Redis counts nothing, so there Celery counts retries.
        "task_retry_on_worker_lost": not amqp,
        "task_publish_retry": True,
        "task_publish_retry_policy": {
            "max_retries": 60,
            "interval_start": 0,
            "interval_step": 0.5,
            "interval_max": 2,
        },
        "worker_cancel_long_running_tasks_on_connection_loss": True,
    }
    if amqp:
        settings |= {
            "broker_heartbeat": 10,
            "broker_transport_options": {"confirm_publish": True, "read_timeout": 20, "write_timeout": 20},
            "broker_native_delayed_delivery_queue_type": "quorum",
        }
    else:
        settings["broker_transport_options"] = {
            # A message that is not acknowledged within this time is handed out again.
            "visibility_timeout": max(3600, _longest_hold(workers)),
            "socket_timeout": 15,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "retry_on_timeout": True,
        }
    if backend["kind"] != "none":
        settings |= {
            "result_expires": 86400,
            "result_extended": True,
            "redis_socket_timeout": 15,
            "redis_socket_connect_timeout": 5,
            "redis_socket_keepalive": True,
            "redis_retry_on_timeout": True,
            "redis_backend_health_check_interval": 30,
        }
    if routes:
        settings["task_routes"] = dict(routes)
    return settings


#: What a producer needs of the settings; the rest is the workers' affair.
PRODUCER_SETTINGS = (
    "broker_transport_options",
    "broker_native_delayed_delivery_queue_type",
    "task_queues",
    "task_routes",
    "task_default_queue",
    "task_default_exchange",
    "task_default_exchange_type",
    "task_default_routing_key",
    "task_create_missing_queues",
    "task_publish_retry_policy",
    "task_serializer",
    "result_serializer",
    "accept_content",
)


def _producer(settings: Mapping[str, Any], broker_url: str, backend_url: str) -> dict[str, Any]:
    """What an application elsewhere sets to send tasks here as safely as these hosts do; it names no password."""
    own = {key: settings[key] for key in PRODUCER_SETTINGS if key in settings}
    own["task_queues"] = {queue["name"]: {k: queue[k] for k in queue if k != "name"} for queue in own["task_queues"]}
    return {"broker_url": broker_url, **({"result_backend": backend_url} if backend_url else {}), **own}


def _stamp(settings: Mapping[str, Any]) -> str:
    """Tells whether a process has to start again for these settings: for any but the list of queues.

    A queue more or less is the affair of those who consume it. Whoever is to send there has a new route or release.
    """
    rest = {key: value for key, value in settings.items() if key != "task_queues"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _units(workers: Mapping[str, Mapping[str, Any]], host: str) -> list[dict[str, Any]]:
    """One systemd unit for each instance of each worker that runs on the host."""
    units = []
    for worker, spec in workers.items():
        if host not in spec["hosts"]:
            continue
        for instance in range(1, spec["instances"] + 1):
            template = f"celery-worker-{spec['unit']}@"
            numbers = {key: value for key, value in spec.items() if key not in ("hosts", "instances", "unit")}
            units.append(
                {
                    "name": f"{template}{instance}.service",
                    "twin": f"{template}{instance}-next.service",
                    "template": f"{template}.service",
                    "marker": f"worker-{spec['unit']}",
                    "worker": worker,
                    "instance": instance,
                    "node": f"{spec['unit']}-{instance}@{host}",
                    **numbers,
                }
            )
    return units


def with_secrets(users: Iterable[Mapping[str, str]], secrets: Mapping[str, str], **more: Any) -> list[dict[str, Any]]:
    """A plan's users with their passwords, and whatever else they have in common."""
    return [{"name": user["name"], "password": secrets[user["password_in"]], **more} for user in users]


def with_password(url: str, password: str, user: str | None = None) -> str:
    """Put a password, and another user where given, into each of a plan's password-free URLs."""

    def one(part: str) -> str:
        scheme, rest = part.split("://", 1)
        name, _, place = rest.rpartition("@")
        return f"{scheme}://{quote(user or name, safe='')}:{quote(password, safe='')}@{place}"

    return ";".join(one(part) for part in url.split(";")) if url else ""
