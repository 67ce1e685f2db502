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
import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from zoneinfo import available_timezones

from ansible_collections.celeryops.stack.plugins.module_utils import addresses, celery_names, redis

#: Seconds a worker may use beyond its longest hard limit before systemd kills what is left of it.
STOP_MARGIN = 30
#: RabbitMQ closes a channel that holds a delivery longer than this (the packages' default: 30 minutes).
#: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
CONSUMER_TIMEOUT_FLOOR = 1800
#: Seconds that a message of a worker which died waits on Redis, at least.
VISIBILITY_FLOOR = 180
#: kombu's native delayed delivery counts seconds in this many bits, one exchange and one queue a bit.
DELAY_BITS = 28
DELAY_EXCHANGE = "celery_delayed_delivery"
DELAY_ENTRANCE = f"celery_delayed_{DELAY_BITS - 1}"
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
#: Result backends that only the application can configure: by its own settings, and with packages of its own.
OWN_BACKENDS = (
    *("django-db", "django-cache", "db", "sqla", "sqlite", "postgresql", "postgres", "mysql", "mongodb", "cache"),
    *("memcached", "file", "filesystem", "cassandra", "elasticsearch", "couchbase", "couchdb", "arangodb"),
    *("dynamodb", "cosmosdbsql", "azureblockblob", "s3", "gs", "gcs", "consul"),
)
#: Schemes that send passwords and tasks in the clear, and what to write instead.
PLAIN_SCHEMES = {"amqp": "amqps", "pyamqp": "amqps", "redis": "rediss"}

# "\Z" and not "$", which lets pass the line break that YAML's | leaves at the end.
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_SIZE = re.compile(r"^(\d+)\s*([KMGT]?)$", re.IGNORECASE)
_SIZE_FACTOR = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_APP = re.compile(r"^[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?\Z")

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
#: Bounds beyond which a unit would not start, or one that no host and no broker could serve.
BOUNDS: dict[str, tuple[int, int]] = {
    "concurrency": (1, 10_000),
    "instances": (1, 100),
    "prefetch_multiplier": (1, 10_000),
    "tasks_max": (32, 4_194_304),  # the kernel's most processes
    "nofile": (1024, 1_048_576),  # its most open files of one
    "cpu_weight": (1, 10_000),  # systemd's
    "memory_max": (64 * 1024**2, 64 * 1024**4),  # what an idle worker takes
    "soft_time_limit": (1, 2_592_000),
    "time_limit": (1, 2_592_000),  # 30 days
    "stop_timeout": (1, 2_592_000),
    "watchdog": (1, 86_400),
}
#: Messages that AMQP lets one consumer hold.
PREFETCH_MOST = 65_535
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
#: Settings that an application may have for good reasons, and that would undo the plan: Celery's own values apply.
#: Limits are the workers'; with one in the settings every message would carry it, and overrule the worker's.
NEUTRAL: dict[str, Any] = {
    "task_time_limit": None,
    "task_soft_time_limit": None,
    "task_acks_on_failure_or_timeout": True,
    "task_default_delivery_mode": 2,
    "task_protocol": 2,
    "worker_max_tasks_per_child": None,
    "worker_max_memory_per_child": None,
    "worker_disable_prefetch": False,
    "worker_enable_prefetch_count_reduction": True,
    "worker_pool_start_method": "fork",
    "worker_soft_shutdown_timeout": 0.0,
    "worker_enable_soft_shutdown_on_idle": False,
    "broker_connection_retry": True,
    "worker_state_db": None,  # one file for all workers of a host; see revocations.py
}
#: The same, where the broker is RabbitMQ: with quorum queues.
NEUTRAL_RABBITMQ: dict[str, Any] = {"worker_detect_quorum_queues": True, "task_queue_max_priority": None}
#: Settings that give other names to what Celery makes on a broker.
ELSEWHERE = ("control_exchange", "event_exchange", "event_queue_prefix", "worker_direct")
#: Settings that the plan derives or that would break its promise; ``celery_settings`` may not set them.
RESERVED_SETTINGS: dict[str, str] = {
    **dict.fromkeys((*NEUTRAL, *NEUTRAL_RABBITMQ), DERIVED),
    "task_queue_max_priority": "remove it, and give what is to come first an entry of its own in celery_workers: no "
    "queue here has a largest priority",
    **dict.fromkeys(ELSEWHERE, "remove it: the broker's users have rights to Celery's own names only"),
    **{
        setting: f"write {key} in celery_workers"
        for setting, key in (
            ("task_time_limit", "time_limit"),
            ("task_soft_time_limit", "soft_time_limit"),
            ("worker_concurrency", "concurrency"),
            ("worker_pool", "pool"),
            ("worker_prefetch_multiplier", "prefetch_multiplier"),
            ("worker_max_tasks_per_child", "max_tasks_per_child"),
            ("worker_max_memory_per_child", "max_memory_per_child"),
        )
    },
    "broker_url": "write celery_broker",
    "broker_read_url": "write celery_broker",
    "broker_write_url": "write celery_broker",
    **{f"broker_{part}": "write celery_broker" for part in ("host", "port", "user", "password", "vhost", "transport")},
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
    "task_create_missing_queue_type": DERIVED,
    "task_create_missing_queue_exchange_type": DERIVED,
    "task_default_queue_type": DERIVED,
    "task_default_exchange": DERIVED,
    "task_default_exchange_type": DERIVED,
    "task_default_routing_key": DERIVED,
    "task_publish_retry": DERIVED,
    "worker_cancel_long_running_tasks_on_connection_loss": DERIVED,
    "result_backend": "write celery_result_backend",
    "result_backend_transport_options": DERIVED,
    "task_queues": "write celery_workers",
    "task_routes": "write celery_routes",
    "task_default_queue": "write celery_default_queue",
    "task_always_eager": "remove it: an eager task runs inside its caller and never reaches a worker",
    "task_serializer": "remove it: only json is spoken",
    "result_serializer": "remove it: only json is spoken",
    "accept_content": "remove it: only json is accepted",
    "result_accept_content": "remove it: only json is accepted",
}
#: Settings that only RabbitMQ, or only Redis, knows.
ONLY_RABBITMQ = (
    "broker_heartbeat",
    "broker_heartbeat_checkrate",
    "broker_login_method",
    "broker_native_delayed_delivery_queue_type",
    "control_queue_exclusive",
    "event_queue_exclusive",
)
ONLY_REDIS = ("visibility_timeout", "broker_visibility_timeout")


#: Settings that the plan derives and that ``celery_settings`` may change all the same.
TUNABLE = (
    "broker_connection_timeout",
    "broker_heartbeat",
    "broker_use_ssl",
    "redis_backend_use_ssl",
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
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    near += [name for name in names if len(word) > 3 and name.startswith(word)]
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
    values = {**values, "celery_generation": _generation(values.get("celery_generation"), problems)}
    topology = _topology(values.get("celery_topology") or {}, host, problems)
    app = _app(values.get("celery_app"), problems)
    workers = _workers(values.get("celery_workers"), topology, problems)
    queues = _queues(workers, problems)
    _one_delivery(workers, problems)
    default_queue = _default_queue(values.get("celery_default_queue"), queues, problems)
    routes = _routes(values.get("celery_routes"), queues, problems)
    extra = _extra_settings(values.get("celery_settings"), problems)
    if not isinstance(values.get("celery_tls", False), bool):
        problems.append(f"celery_tls is {values['celery_tls']!r}; write true or false, without quotes")
    broker = _over_tls(values, _broker(values, topology, host, problems))
    backend = _over_tls(values, _backend(values, topology, host, problems))
    if broker["kind"] == "redis" and backend.get("hosts"):
        problems += redis.overlap_problems(_names(topology["broker"]), _names(topology["backend"]))
    problems += _misfits(broker["kind"], extra)
    users = [user["name"] for user in _redis_users(broker, backend, topology, host)]
    if len(set(users)) < len(users):
        problems.append(
            f"celery_broker_user, celery_monitor_user, celery_producer_user and celery_result_user are "
            f"{', '.join(sorted(users))} on one "
            "Redis, each with a password of its own; give them different names"
        )
    if problems:
        raise PlanError(problems)

    broker |= {"queues": queues, "exchange": EXCHANGE, "dead_letter_queue": DEAD_LETTER}
    if broker["kind"] == "redis":
        broker["visibility_timeout"] = _visibility_timeout(workers)
    else:
        broker["consumer_timeout"] = _consumer_timeout(workers)
        broker["objects"] = _objects(queues, broker["vhost"])
        broker["permissions"] = _permissions(queues)
        broker["users"] = _with_former(_rabbitmq_users(broker), values["celery_generation"])
    settings = _settings(broker, backend, workers, queues, default_queue, routes)
    settings = _ask_sentinels(settings | _verification(values, broker["url"], backend["url"]) | extra)
    # Elsewhere is none of the hosts, so no address is loopback that need not be.
    elsewhere = [_over_tls(values, find(values, topology, "", [])) for find in (_broker, _backend)]
    verification = _verification(values, *(place["url"] for place in elsewhere))
    nodes = _nodes(workers, _names(topology["worker"]))
    return {
        "app": app,
        "broker": broker,
        "result_backend": backend,
        "uses_redis": broker["kind"] == "redis" or backend["url"].startswith(REDIS_SCHEMES),
        "settings": settings,
        "stamp": _stamp(settings),
        "generation": values["celery_generation"],
        "producer": _producer(_ask_sentinels(settings | verification | extra), *elsewhere),
        "workers": {name: spec for name, spec in workers.items() if host in spec["hosts"]},
        "units": _units(workers, host),
        "nodes": nodes,
        "redis": _redis(broker, topology, host),
        "redis_users": _with_former(_redis_users(broker, backend, topology, host), values["celery_generation"]),
        "beat": {"unit": "celery-beat.service", "host": next(iter(_names(topology["beat"])), None)},
        # What the audit compares the application with: all workers, wherever they run.
        "audit": {
            "workers": workers,
            "broker": {
                "consumer_timeout": broker.get("consumer_timeout"),
                "visibility_renewed": "visibility_timeout" in broker,  # by celeryops_runtime
                "celerys_names_only": "objects" in broker,
                **({"quorum_queues": True} if "objects" in broker else {}),
            },
            "nodes": nodes,
            "beats": len(topology["beat"]),
        },
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
            "celery_workers is no mapping; write a mapping from a worker's name to its numbers, "
            "for example 'default: {concurrency: 2}'"
        )
        return {}
    workers: dict[str, dict[str, Any]] = {}
    unit_of: dict[str, str] = {}
    hosts = _names(topology["worker"])
    for raw_name, entry in given.items():
        name, where = str(raw_name), f"celery_workers[{str(raw_name)!r}]"
        if raw_name is None or isinstance(raw_name, bool):
            problems.append(f"{where}: YAML takes this name for no text; write it in quotes, or rename it")
            continue
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
    spec = {key: defaults.get(key, default) for key, (_kind, default) in WORKER_KEYS.items()}
    for key, value in entry.items():
        if key in WORKER_KEYS and value is not None:
            spec[key] = _value(WORKER_KEYS[key][0], value, f"{where}.{key}", problems)
            _within(key, spec[key], value, f"{where}.{key}", problems)
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


def _within(key: str, number: Any, value: Any, where: str, problems: list[str]) -> None:
    """A number that is one, but cannot work."""
    least, most = BOUNDS.get(key, (0, 0))
    if most and number is not None and not least <= number <= most:
        if key == "memory_max":
            problems.append(f"{where} is {value!r}; write a size from {least // 1024**2}M to {most // 1024**4}T")
        else:
            unit = " of seconds" if WORKER_KEYS[key][0] == "seconds" else ""
            problems.append(f"{where} is {value!r}; write a whole number{unit} from {least} to {most}")


def _limits(spec: dict[str, Any], entry: Mapping[str, Any], where: str, problems: list[str]) -> None:
    """The rules between the numbers of one worker."""
    if spec["concurrency"] * spec["prefetch_multiplier"] > PREFETCH_MOST:
        problems.append(
            f"{where}: concurrency ({spec['concurrency']}) times prefetch_multiplier ({spec['prefetch_multiplier']}) "
            f"is more than the {PREFETCH_MOST} messages that a worker may hold; write a prefetch_multiplier of at most "
            f"{PREFETCH_MOST // spec['concurrency']}"
        )
    if spec["tasks_max"] is not None and spec["tasks_max"] < (needed := spec["concurrency"] + 16):
        problems.append(
            f"{where}: tasks_max ({spec['tasks_max']}) leaves no room for a concurrency of {spec['concurrency']}; "
            f"write {needed} or more, or remove it"
        )
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
        elif (
            queue.startswith(("amq.", "celery_delayed_", "celeryev"))
            or queue.endswith("celery.pidbox")
            or queue in (DEAD_LETTER, "unacked", "unacked_index", "unacked_mutex")  # the last three are Redis'
        ):
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
        if not isinstance(queue, str):
            problems.append(
                f"celery_routes[{str(pattern)!r}] is {queue!r}; write the queue's name alone, for example "
                f"{queues[0] if queues else 'default'}"
            )
            continue
        if not str(pattern):
            problems.append("celery_routes has an empty name; write a task's name, or a glob such as 'shop.tasks.*'")
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
        elif key not in celery_names.NAMES and key not in ONLY_REDIS:
            problems.append(
                f"celery_settings.{key} is no setting of Celery's{did_you_mean(key, celery_names.NAMES)}; correct it, "
                "or write it in the application, if another package reads it there"
            )
    problems += _schedule_problems((given or {}).get("beat_schedule"))
    problems += _annotation_problems((given or {}).get("task_annotations"))
    problems += _timezone_problems((given or {}).get("timezone"))
    return dict(given or {})


def _schedule_problems(schedule: Any) -> list[str]:
    """What beat would fail on. Settings travel as JSON, which has no crontab."""
    where = "celery_settings.beat_schedule"
    if schedule is None:
        return []
    if not isinstance(schedule, Mapping):
        return [f"{where} is not a mapping; write it like {{sweep: {{task: shop.tasks.sweep, schedule: 60}}}}"]
    found = []
    for name, entry in schedule.items():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("task"), str) or not entry["task"]:
            found.append(f"{where}.{name} names no task; write it like {{task: shop.tasks.sweep, schedule: 60}}")
            continue
        every = entry.get("schedule")
        if isinstance(every, bool) or not isinstance(every, (int, float)) or not 0 < every < float("inf"):
            found.append(
                f"{where}.{name}.schedule is {every!r}; write a number of seconds, more than 0 (a crontab is Python's: "
                "write that into the application's own beat_schedule)"
            )
    return found


def _annotation_problems(annotations: Any) -> list[str]:
    """What they would say against the plan, of all tasks or of some."""
    where = "celery_settings.task_annotations"
    if annotations is None:
        return []
    if not isinstance(annotations, Mapping) or not all(isinstance(each, Mapping) for each in annotations.values()):
        return [f"{where} is no mapping of mappings; write it like {{shop.tasks.sweep: {{rate_limit: 10/m}}}}"]
    return [
        f"{where}.{task}.{attribute} would change when a task counts as done; write 'delivery: at_most_once' in "
        "celery_workers for a queue whose tasks may get lost"
        for task, attributes in annotations.items()
        for attribute in attributes
        if attribute in celery_names.ACKNOWLEDGEMENT
    ]


def _timezone_problems(timezone: Any) -> list[str]:
    """A time zone that the controller's own data does not know; where it has no data, hosts decide."""
    if timezone is None or not (known := available_timezones()) or timezone in known:
        return []
    return [
        f"celery_settings.timezone is {timezone!r}, which is no time zone{did_you_mean(str(timezone), known)}; write "
        "one such as Europe/Berlin or UTC"
    ]


def _misfits(broker: str, settings: Mapping[str, Any]) -> list[str]:
    """Settings that mean nothing to this kind of broker, or are derived for it."""
    found = []
    for key in settings:
        if broker == "redis" and (key in ONLY_RABBITMQ or "quorum" in key):
            found.append(
                f"celery_settings.{key} is about RabbitMQ, and celery_broker is redis, which knows no such thing; "
                "remove it, or write 'celery_broker: rabbitmq'"
            )
        elif key in ONLY_REDIS:
            found.append(
                f"celery_settings.{key} may not be set here, as a time-out below the longest task runs it twice; "
                "remove it: the plan derives it, and workers prolong it while a task waits or runs"
            )
    return found


# --- broker and result backend ----------------------------------------------------------------------------------


def _url_problem(variable: str, url: str, allowed: tuple[str, ...], what: str) -> str | None:
    """What is wrong with a URL that the user wrote, never repeating anything secret of it."""
    written = url.split(":", 1)[0]
    scheme = written.lower()
    family = scheme.split("+", 1)[0]
    shown = ", ".join(f"{each}://" for each in allowed if each not in ("pyamqp", "sentinel"))
    remedy = f"write {what} or a URL that starts with {shown}"
    if scheme in allowed and scheme != written:
        return f"{variable} begins with {written}://, which Celery does not know; write {scheme}://"
    if scheme == "sentinel":
        return (
            f"{variable} begins with sentinel://, and by which name those Sentinels know the primary cannot be said "
            "here; write the redis:// URL of the primary, or let the collection run Redis: write redis"
        )
    if scheme in allowed:
        try:
            parts = urlsplit(url)
            password, host, _port = parts.password, parts.hostname, parts.port
        except ValueError:
            return f"{variable} is not a URL that can be read; write it like {allowed[0]}://user@host/vhost"
        if password is not None:
            secret = variable.removesuffix("_backend")
            return f"{variable} carries a password; write the URL without it and put it into {secret}_password (vault)"
        if problem := addresses.query_problem(variable, url, f"{variable.removesuffix('_backend')}_password"):
            return problem
        if re.search(r"\s", url):
            return f"{variable} contains a blank or a line break; write it like {allowed[0]}://user@host"
        if not host or not re.fullmatch(r"[A-Za-z0-9_.:-]+", host):
            return f"{variable} names {'more than one host' if host else 'no host'}; write it like {allowed[0]}://user@host"
        if scheme in REDIS_SCHEMES and not re.fullmatch(r"/?\d{0,4}", parts.path):
            return f"{variable} ends in no database's number; write it like {scheme}://user@host/0"
        return None
    if family in DATABASE_SCHEMES:
        return f"{variable} uses '{scheme}', a database, which loses and delays tasks under load; {remedy}"
    if family in TOY_SCHEMES:
        return f"{variable} uses '{scheme}', which is for tests and keeps no task safe; {remedy}"
    return f"{variable} is of the unknown kind {scheme[:40]!r}; {remedy}"


def _generation(value: Any, problems: list[str]) -> int:
    """How often the passwords of broker and result backend were replaced by others, and one more."""
    given = 1 if value is None else value
    if isinstance(given, bool) or not re.fullmatch(r"[1-9]\d{0,3}", str(given)):
        problems.append(f"celery_generation is {given!r}; write a whole number from 1 to 9999")
        return 1
    return int(given)


def _named(user: str, generation: int) -> str:
    """The name of a user in one generation: RabbitMQ's have one password each, so a new one is a new user's."""
    return user if generation == 1 else f"{user}-{generation}"


def _plain_problem(variable: str, url: str, values: Mapping[str, Any]) -> str | None:
    """A plain URL of somebody else's service, where everything is to be encrypted."""
    secure = PLAIN_SCHEMES.get(scheme := urlsplit(url).scheme)
    if not values.get("celery_tls") or not secure:
        return None
    return f"celery_tls is true, but {variable} is a plain {scheme}:// URL; write {secure}://, with the port for TLS"


def _nameless_problem(variable: str, url: str, user_variable: str, user: str, default: str) -> list[str]:
    """To redis-py a URL without a user means the password alone, or none: a user's name elsewhere would not count."""
    parts = urlsplit(url)
    if parts.username or parts.scheme not in REDIS_SCHEMES or user == default:
        return []
    return [
        f"{user_variable} is {user!r}, but {variable} is a URL without a user, which means the password alone; "
        f"write {with_password(url, '', user)}"
    ]


def _broker(values: Mapping[str, Any], topology: Mapping[str, Any], host: str, problems: list[str]) -> dict[str, Any]:
    kind = values.get("celery_broker") or "rabbitmq"
    user = values.get("celery_broker_user") or "celery"
    broker: dict[str, Any] = {
        "kind": kind,
        "user": user,
        "monitor_user": values.get("celery_monitor_user") or "monitor",
        "producer_user": values.get("celery_producer_user") or "",
        "vhost": values.get("celery_vhost") or "celery",
        "nodes": [],
    }
    if kind in ("rabbitmq", "redis"):
        for key, *_rest in BROKER_USERS.values():
            broker[key] = broker[key] and _named(broker[key], values["celery_generation"])
        user = broker["user"]
        if not topology["broker"]:
            problems.append("the inventory group 'broker' is empty; put the host that is to run the broker into it")
        if kind == "redis":
            problems += redis.group_problems("broker", _names(topology["broker"]), "the broker")
            return broker | redis.place([_address(entry, host) for entry in topology["broker"]], user, 0)
        problems += _cluster_problems(topology["broker"])
        broker["nodes"] = _members(topology["broker"])
        addresses = [_address(entry, host) for entry in in_turn(topology["broker"], _turn(topology, host))]
        port = 5672
        vhost = quote(broker["vhost"], safe="")
        urls = [f"amqp://{quote(user, safe='')}@{a}:{port}/{vhost}" for a in addresses]
        return broker | {"hosts": addresses, "port": port, "url": ";".join(urls)}
    url = str(kind)
    problem = _url_problem("celery_broker", url, AMQP_SCHEMES + REDIS_SCHEMES, "rabbitmq, redis")
    problem = problem or _plain_problem("celery_broker", url, values)
    if problem:
        problems.append(problem)
        return broker | {"kind": "rabbitmq", "hosts": [], "port": 0, "url": ""}
    parts = urlsplit(url)
    problems += _nameless_problem("celery_broker", url, "celery_broker_user", user, "celery")
    return broker | {
        "kind": "redis" if parts.scheme in REDIS_SCHEMES else "external",
        "declare": bool(values.get("celery_broker_declare", True)),
        "user": unquote(parts.username or "") or ("" if parts.scheme in REDIS_SCHEMES else user),
        "vhost": unquote(parts.path[1:]) or "/",
        "hosts": [parts.hostname],
        "port": parts.port or (6379 if parts.scheme in REDIS_SCHEMES else 5671 if parts.scheme == "amqps" else 5672),
        # To Redis no user is one, too: the password alone, or none.
        "url": url
        if parts.username or parts.scheme in REDIS_SCHEMES
        else url.replace("://", f"://{quote(user, safe='')}@", 1),
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


def _members(brokers: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
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
    if kind in ("none", "application"):
        return {"kind": kind, "url": "", "user": user if kind == "none" else ""}
    if kind == "redis":
        user = _named(user, values["celery_generation"])
        if not topology["backend"]:
            problems.append(
                "the inventory group 'backend' is empty, so results have no place; put the Redis host into it, "
                "or write 'celery_result_backend: none'"
            )
            return {"kind": "redis", "url": "", "user": user}
        problems += redis.group_problems("backend", _names(topology["backend"]), "the results")
        there = redis.place([_address(entry, host) for entry in topology["backend"]], user, 1)
        return {"kind": "redis", "user": user, **there}
    url = str(kind)
    problem = _own_backend_problem(url)
    problem = problem or _url_problem("celery_result_backend", url, REDIS_SCHEMES, "redis, none, application")
    problem = problem or _plain_problem("celery_result_backend", url, values)
    if problem:
        problems.append(problem)
        return {"kind": "external", "url": "", "user": user}
    problems += _nameless_problem("celery_result_backend", url, "celery_result_user", user, "results")
    return {"kind": "external", "user": unquote(urlsplit(url).username or ""), "url": url}


def _own_backend_problem(url: str) -> str | None:
    """A result backend that cannot be written as an address here."""
    scheme = url.split(":", 1)[0].lower()
    if scheme in ("rpc", "amqp", "amqps", "pyamqp"):
        return (
            f"celery_result_backend uses '{scheme}', which keeps results in queues that no worker here may declare, "
            "loses them with their reader and knows no chords; write redis, none, or application for a database"
        )
    if scheme.split("+", 1)[0] in OWN_BACKENDS:
        return (
            f"celery_result_backend uses '{scheme[:40]}', which the application configures itself; write "
            "'celery_result_backend: application', and its result_backend into the application's settings"
        )
    return None


#: Who uses the broker: the key of the user's name, the variable of its password, and RabbitMQ's tags.
BROKER_USERS: dict[str, tuple[str, str, list[str]]] = {
    "worker": ("user", "celery_broker_password", []),
    "producer": ("producer_user", "celery_producer_password", []),
    "monitor": ("monitor_user", "celery_monitor_password", ["monitoring"]),
}


def _rabbitmq_users(broker: Mapping[str, Any]) -> list[dict[str, Any]]:
    """RabbitMQ's users besides the administrator; the producers' only where it has a name."""
    return [
        {"name": broker[key], "password_in": secret, "tags": tags, "permissions": broker["permissions"][role]}
        for role, (key, secret, tags) in BROKER_USERS.items()
        if broker[key]
    ]


def _redis_users(
    broker: Mapping[str, Any], backend: Mapping[str, Any], topology: Mapping[str, Any], host: str
) -> list[dict[str, Any]]:
    """Users of the Redis on this host, their rights, and the variable that holds each one's password."""
    users = []
    if backend.get("hosts") and host in _names(topology["backend"]):
        users.append({"name": backend["user"], "password_in": "celery_result_password", "rules": redis.BACKEND_RULES})
    if broker["kind"] == "redis" and host in _names(topology["broker"]):
        # Who watches asks the workers by messages, as the workers ask each other: it needs the same.
        rules = {"worker": redis.BROKER_RULES, "monitor": redis.BROKER_RULES, "producer": redis.PRODUCER_RULES}
        users += [
            {"name": broker[key], "password_in": secret, "rules": rules[role]}
            for role, (key, secret, _tag) in BROKER_USERS.items()
            if broker[key]
        ]
    return [{**user, "rules": list(user["rules"])} for user in users]


def _redis(broker: Mapping[str, Any], topology: Mapping[str, Any], host: str) -> dict[str, Any]:
    """The replicas that the Redis on this host is one of."""
    is_broker = broker["kind"] == "redis" and host in _names(topology["broker"])
    return redis.replicas(topology["broker" if is_broker else "backend"], is_broker)


def _with_former(users: Iterable[Mapping[str, Any]], generation: int) -> list[dict[str, Any]]:
    """Users of a service of ours, each with the names that it had in the generations before."""
    bases = [(user, user["name"].removesuffix(f"-{generation}")) for user in users]
    return [{**user, "former": [_named(base, before) for before in range(1, generation)]} for user, base in bases]


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


def _visibility_timeout(workers: Mapping[str, Mapping[str, Any]]) -> int:
    """Seconds after which Redis hands out again what nobody has acknowledged.

    A worker says six times as often that it still has a message, however long that waits for its time and runs. So it
    only has to be longer than a living worker may be silent, and longer than hosts' clocks may differ.
    """
    silent: int = max(spec["watchdog"] or 0 for spec in workers.values())
    return max(VISIBILITY_FLOOR, 3 * silent)


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
    """Least permissions: Celery (re-)declares its own objects, and nothing else may be touched.

    Producers declare nothing, as everything is there before; what is delayed enters the ladder at its top.
    """
    own = [re.escape(name) for name in [*queues, EXCHANGE]]
    control = [r"celeryev(\..+)?", r"(.+\.)?(reply\.)?celery\.pidbox"]
    everything = "^(" + "|".join([*own, r"celery_delayed_.+", *control]) + ")$"
    monitoring = "^(" + "|".join(control) + ")$"
    return {
        "worker": {"configure": everything, "write": everything, "read": everything},
        "monitor": {"configure": monitoring, "write": monitoring, "read": monitoring},
        "producer": {"configure": "^$", "write": f"^({re.escape(EXCHANGE)}|{DELAY_ENTRANCE})$", "read": "^$"},
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
    exchange: dict[str, Any] = {"exchange": EXCHANGE, "exchange_type": "topic" if amqp else "direct"}
    if broker["kind"] == "external" and not broker["declare"]:
        exchange["no_declare"] = True
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
        **NEUTRAL,
    }
    if amqp:
        settings |= NEUTRAL_RABBITMQ | {
            "broker_heartbeat": 10,
            "broker_transport_options": {"confirm_publish": True, "read_timeout": 20, "write_timeout": 20},
            "broker_native_delayed_delivery_queue_type": "quorum",
        }
    else:
        settings["broker_transport_options"] = redis.transport_options(
            broker["visibility_timeout"], broker["dead_letter_queue"], broker.get("sentinel", ""), len(broker["hosts"])
        )
    if backend["kind"] not in ("none", "application"):
        settings |= {"result_expires": 86400, "result_extended": True}
    if backend["kind"] != "none":  # the application's own may be a Redis
        settings |= {
            "redis_socket_timeout": 15,
            "redis_socket_connect_timeout": 5,
            "redis_socket_keepalive": True,
            "redis_retry_on_timeout": True,
            "redis_backend_health_check_interval": 30,
        }
    if backend.get("sentinel"):
        settings["result_backend_transport_options"] = {"master_name": backend["sentinel"]}
    if routes:
        settings["task_routes"] = dict(routes)
    return settings


def _over_tls(values: Mapping[str, Any], place: dict[str, Any]) -> dict[str, Any]:
    """Where RabbitMQ or Redis of ours is reached if TLS is wanted: RabbitMQ at other ports, Redis at its own."""
    tls = bool(values.get("celery_tls"))
    if place["kind"] == "rabbitmq" and place["hosts"]:
        first = place["hosts"][0]
        place["api"] = f"https://{first}:15671/api/" if tls else f"http://{first}:15672/api/"
        place["port"] = 5671 if tls else place["port"]
    if tls:
        place["url"] = re.sub(r"amqp://([^;]*):5672/", r"amqps://\1:5671/", place["url"])
        place["url"] = place["url"].replace("redis://", "rediss://")
    return place


def _verification(values: Mapping[str, Any], broker_url: str, backend_url: str) -> dict[str, Any]:
    """How clients verify the broker and the result backend; what an application says of others it used does not count.

    Where the application itself says where results are, it says this, too.
    """

    def authority(service: str) -> str | None:
        """The file of the CA whose word counts; none: the CAs that the host trusts."""
        ours = values.get(service) in (None, "", "rabbitmq", "redis") or values.get("celery_tls_ca_certificate")
        return values.get("celery_tls_ca_path") if ours else None

    tls = bool(values.get("celery_tls"))
    settings: dict[str, Any] = {"broker_use_ssl": tls_options(broker_url, authority("celery_broker"), tls) or None}
    if backend_url:
        options = tls_options(backend_url, authority("celery_result_backend"), tls)
        settings["redis_backend_use_ssl"] = options or None
    return settings


def tls_options(url: str, authority: str | None, tls: bool) -> dict[str, Any]:
    """What py-amqp or redis-py needs to accept only the named server with a certificate of that CA.

    Sentinels' URLs are the same with TLS and without.
    """
    parts = urlsplit(url.split(";", 1)[0])
    if parts.scheme == "amqps":
        # The name is spelt out: left to kombu, it would be that of the broker it reached first, for all of them.
        return {"ca_certs": authority, "cert_reqs": int(ssl.CERT_REQUIRED), "server_hostname": parts.hostname}
    if parts.scheme == "rediss" or (parts.scheme == "sentinel" and tls):
        return {"ssl_ca_certs": authority, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    return {}


#: Options that may name a primary which Sentinels know, and how that one is verified.
SENTINEL_OPTIONS = {
    "broker_transport_options": "broker_use_ssl",
    "result_backend_transport_options": "redis_backend_use_ssl",
}


def _ask_sentinels(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with how Sentinels are asked: their certificates are the ones of the Redis that they watch."""
    asking = {
        name: {**settings[name], "sentinel_kwargs": redis.sentinel_kwargs(settings.get(verified) or {})}
        for name, verified in SENTINEL_OPTIONS.items()
        if "master_name" in settings.get(name, {})
    }
    return {**settings, **asking}


#: What a producer needs of the settings; the rest is the workers' affair.
PRODUCER_SETTINGS = (
    "broker_use_ssl",
    "redis_backend_use_ssl",
    "broker_transport_options",
    "result_backend_transport_options",
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


def _producer(settings: Mapping[str, Any], broker: Mapping[str, Any], backend: Mapping[str, Any]) -> dict[str, Any]:
    """What an application elsewhere sets to send tasks here as safely as these hosts do; it names no password."""
    own = {key: settings[key] for key in PRODUCER_SETTINGS if key in settings}
    own["task_queues"] = {queue["name"]: {k: queue[k] for k in queue if k != "name"} for queue in own["task_queues"]}
    if broker["kind"] != "redis":  # they are there, and a producer has no right to declare them
        own["task_queues"] = {name: {**queue, "no_declare": True} for name, queue in own["task_queues"].items()}
    urls = {"broker_url": with_password(broker["url"], "", broker["producer_user"]), "result_backend": backend["url"]}
    # Sentinels know the same users; who has celeryops_runtime need not say so.
    logins = {
        "broker_transport_options": broker["producer_user"] or broker["user"],
        "result_backend_transport_options": backend["user"],
    }
    for name, user in logins.items():
        if "master_name" in own.get(name, {}):
            login = {"username": user, "password": ""}
            own[name] = {**own[name], "sentinel_kwargs": {**own[name]["sentinel_kwargs"], **login}}
    return {key: url for key, url in urls.items() if url} | own


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
                    "node": _node(spec, instance, host),
                    **numbers,
                }
            )
    return units


def _node(spec: Mapping[str, Any], instance: int, host: str) -> str:
    """The name by which Celery knows one worker; no two may share it."""
    return f"{spec['unit']}-{instance}@{host}"


def _nodes(workers: Mapping[str, Mapping[str, Any]], hosts: list[str]) -> list[str]:
    """Every worker's name, host by host."""
    specs = [(spec, set(spec["hosts"])) for spec in workers.values()]
    return [
        _node(spec, instance, host)
        for host in hosts
        for spec, on in specs
        if host in on
        for instance in range(1, spec["instances"] + 1)
    ]


def with_secrets(users: Iterable[Mapping[str, Any]], secrets: Mapping[str, str], **more: Any) -> list[dict[str, Any]]:
    """A plan's users with their passwords, and whatever else they have in common."""
    own = ("password_in", "former")
    return [
        {**{key: user[key] for key in user if key not in own}, "password": secrets[user["password_in"]], **more}
        for user in users
    ]


def with_password(url: str, password: str, user: str | None = None) -> str:
    """Put a password, and another user where given, into each of a plan's password-free URLs.

    The user in a URL is percent-encoded there already, as is everything else of it.
    """

    def one(part: str) -> str:
        scheme, rest = part.split("://", 1)
        name, _at, place = rest.rpartition("@")
        login = (quote(user, safe="") if user else name) + (f":{quote(password, safe='')}" if password else "")
        return f"{scheme}://{login}@{place}" if login else f"{scheme}://{place}"

    return ";".join(one(part) for part in url.split(";")) if url else ""
