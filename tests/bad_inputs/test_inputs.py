# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong inventories, variables, secrets and hosts: each is refused in a sentence, and a host is asked for facts only.

Needs no host:
    pytest -n 2 tests/bad_inputs/test_inputs.py
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from .conftest import KINDS, SECRETS, VARIABLES, Case, Outcome, Trials, write

ROOT = Path(__file__).parents[2]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there
WORKER = {"concurrency": 2, "soft_time_limit": 40, "time_limit": 60}


def entry(**keys: Any) -> dict[str, Any]:
    """celery_workers with one entry, changed."""
    return {"celery_workers": {"default": {**WORKER, **keys}}}


def threads(**keys: Any) -> dict[str, Any]:
    return {"celery_workers": {"default": {"pool": "threads", **keys}}}


def only(variable: str, value: Any, *said: str, **more: Any) -> Case:
    return Case((variable, *said), {variable: value}, **more)


# --- the declaration --------------------------------------------------------------------------------------------

APPLICATION = {
    "no app": only("celery_app", "", "is not set", "write where your Celery application is"),
    "an app that is a path": only("celery_app", "shop/celery.py", "write it like 'shop.celery:app'"),
    "an app that is a command": only("celery_app", "shop.celery:app --beat", "write it like 'shop.celery:app'"),
    "no source": only("app_source", "", "write what to release"),
    "a source that is not there": only("app_source", "/nowhere/shop", "write the path of your project"),
    "a source from here": only("app_source", "../shop", "write the whole path"),
    "a wheel that is not built": only("app_source", "/nowhere/shop-1.0-py3-none-any.whl", "build it first"),
    "a package without a version": only("app_source", "shop", "pin it, like shop==1.2.0"),
    "a package with an open version": only("app_source", "shop>=1.2", "pin it, like shop==1.2.0"),
    "a repository": only(
        "app_source",
        "git+https://robot:kept-quiet-robot-8c@git.example.org/shop.git",
        "write the directory or the wheel",
        hidden=("kept-quiet-robot-8c",),
    ),
    "a directory that is no project": only("app_source", "/usr", "put a requirements.txt or a pyproject.toml into it"),
    "an old Celery": only("app_requirements", ["celery==5.6.2"], "asks for celery==5.6.2", "write celery==5.7.0"),
    "an open requirement": only("app_requirements", ["redis>=5"], "write it like redis==8.1.0"),
    "an application without a client of Redis": only(
        "app_source", str(ROOT / "molecule/reliability/app"), "requirements.txt names no redis", "write redis==8.1.0"
    ),
    "nothing that is excluded": only("app_exclude", ["/media", "!"], "app_exclude[1]", "write a name or a path"),
    "commands and words of one": only(
        "app_once", [["true"], "python", "x"], "mixes words and lists", "write each command"
    ),
    "an empty command": only("app_audit", [["true"], []], "has an empty one", "write each command"),
    "a build with commands and words": only("app_build", [["true"], "make"], "mixes words and lists"),
    "a restart that is one text": only("app_after", "systemctl restart shop", "write"),
    "an audit that is one text": only("app_audit", "python -m shop.check", "write"),
    "nothing to go back to": only("app_keep", 1, "write a whole number, 2 or more"),
}

WORKERS = {
    "no worker": only("celery_workers", {}, "write at least one entry"),
    "workers as a list": only("celery_workers", ["default"], "write a mapping"),
    "a worker that is a number": Case(
        ("celery_workers['default'] is 4", "write a mapping"), {"celery_workers": {"default": 4}}
    ),
    "a name with a blank": Case(("celery_workers['my queue']", "rename it"), {"celery_workers": {"my queue": WORKER}}),
    "two units of one name": Case(
        ("'mail_out' and 'mail-out' would both be the unit", "rename one of them"),
        {"celery_workers": {"mail_out": WORKER, "mail-out": WORKER}},
    ),
    "soft above hard": Case(
        ("soft_time_limit (90 s) is not below time_limit (60 s)", "write a soft_time_limit of at most 59"),
        entry(soft_time_limit=90),
    ),
    "soft equal to hard": Case(
        ("soft_time_limit (60 s) is not below time_limit (60 s)", "write a soft_time_limit of at most 59"),
        entry(soft_time_limit=60),
    ),
    "a limit of one second": Case(
        ("time_limit is 1 s", "write 2 or more"), {"celery_workers": {"default": {"time_limit": 1}}}
    ),
    "no hard limit": Case(("time_limit is empty", "write a number of seconds"), entry(time_limit=None)),
    "no soft limit": Case(("soft_time_limit is empty", "write a number of seconds"), entry(soft_time_limit=None)),
    "a stop that kills": Case(("stop_timeout (60 s) would kill", "write at least 90"), entry(stop_timeout=60)),
    "a hasty watchdog": Case(("watchdog is 5 s", "write 30 or more"), entry(watchdog=5)),
    "children that do not fit": Case(
        ("2 children of max_memory_per_child do not fit", "write a memory_max of at least 800M"),
        entry(max_memory_per_child="400M", memory_max="512M"),
    ),
    "limits on threads": Case(
        ("the threads pool ignores time_limit", "write 'pool: prefork'"), threads(time_limit=30, stop_timeout=60)
    ),
    "threads without an end": Case(("the threads pool has no time limits", "write stop_timeout"), threads()),
    "a pool nobody has": Case(("pool is 'preforc' (did you mean 'prefork'?)", "write one of"), entry(pool="preforc")),
    "a pool that is no good": Case(("pool is 'gevent'", "write one of prefork, threads"), entry(pool="gevent")),
    "a profile nobody has": Case(
        ("profile is 'througput' (did you mean 'throughput'?)", "write one of"), entry(profile="througput")
    ),
    "a delivery nobody has": Case(("delivery is 'exactly_once'", "write one of"), entry(delivery="exactly_once")),
    "a level nobody has": Case(("log_level is 'VERBOSE'", "write one of DEBUG"), entry(log_level="VERBOSE")),
    "events that are a text": Case(("events is 'yes please'", "write true or false"), entry(events="yes please")),
    "a size without sense": Case(("memory_max is 'lots'", "write a size such as"), entry(memory_max="lots")),
    "a queue of the broker's": Case(("the queue name 'amq.mine'", "rename it"), entry(queues=["amq.mine"])),
    "a queue that is the dead ones'": Case(
        ("the queue name 'celery.dead'", "rename it"), entry(queues=["celery.dead"])
    ),
    "a queue with a slash": Case(("the queue name 'a/b'", "rename it"), entry(queues=["a/b"])),
    "queues that are a mapping": Case(("queues is", "write a list of names"), entry(queues={"a": 1})),
    "a queue that ends in another": Case(
        ("the queue 'eu.default'", "rename one of them"),
        {"celery_workers": {"default": WORKER, "eu": {**WORKER, "queues": ["eu.default"]}}},
    ),
    "a queue promised two things": Case(
        ("the queue 'default' is", "write the same delivery in both"),
        {"celery_workers": {"default": WORKER, "more": {**WORKER, "queues": ["default"], "delivery": "at_most_once"}}},
    ),
    "a default queue of nobody": only("celery_default_queue", "defualt", "which no entry", "write one of"),
    "a route to nobody": Case(
        ("celery_routes['shop.tasks.charge']", "did you mean 'critical'?", "add a worker for it"),
        {"celery_routes": {"shop.tasks.charge": "critcal"}},
    ),
    "routes as a list": only("celery_routes", [{"shop.tasks.charge": "critical"}], "write a mapping"),
}
NUMBERS = (
    "concurrency",
    "instances",
    "prefetch_multiplier",
    "max_tasks_per_child",
    "tasks_max",
    "nofile",
    "cpu_weight",
)
for key in NUMBERS:
    WORKERS[f"{key} of zero"] = Case((f"{key} is 0", "write a whole number"), entry(**{key: 0}))
for value in (-1, 2.5, "two", True, [2]):
    WORKERS[f"a concurrency of {value}"] = Case(("concurrency is", "write a whole number"), entry(concurrency=value))
for key, meant in (
    ("concurency", "concurrency"),
    ("hard_time_limit", "time_limit"),
    ("timelimit", "time_limit"),
    ("memory-max", "memory_max"),
    ("queue", "queues"),
    ("prefetch", "prefetch_multiplier"),
):
    WORKERS[f"the key {key}"] = Case(
        (f"unknown key '{key}' (did you mean '{meant}'?)", "the keys are"), entry(**{key: 2})
    )

for key, value, remedy in (
    ("concurrency", 10**12, "write a whole number from 1 to 10000"),
    ("instances", 100_000, "write a whole number from 1 to 100"),
    ("time_limit", 10**15, "write a whole number of seconds from 1 to 2592000"),
    ("nofile", 10**12, "write a whole number from 1024 to 1048576"),
    ("nofile", 16, "write a whole number from 1024 to 1048576"),
    ("cpu_weight", 20_000, "write a whole number from 1 to 10000"),
    ("tasks_max", 1, "write a whole number from 32"),
    ("memory_max", "1M", "write a size from 64M"),
):
    WORKERS[f"{key} of {value}"] = Case((f"celery_workers['default'].{key} is", remedy), entry(**{key: value}))
WORKERS |= {
    "more messages than a consumer may hold": Case(
        ("concurrency (20) times prefetch_multiplier (9000)", "write a prefetch_multiplier of at most 3276"),
        entry(concurrency=20, prefetch_multiplier=9000),
    ),
    "no room for its children": Case(
        ("tasks_max (40) leaves no room for a concurrency of 50", "write 66 or more"),
        entry(concurrency=50, tasks_max=40),
    ),
    "a worker called yes": Case(
        ("celery_workers['True']: YAML takes this name for no text", "write it in quotes"),
        text="celery_workers: {yes: {concurrency: 2}}",
    ),
    "a worker whose name ends in a line break": Case(
        ("celery_workers['default\\n']", "rename it"), {"celery_workers": {"default\n": WORKER}}
    ),
    "a queue whose name ends in a line break": Case(
        ("the queue name 'mail\\n'", "rename it"), entry(queues=["mail\n"])
    ),
    "a queue that kombu has on Redis": Case(("the queue name 'unacked'", "rename it"), entry(queues=["unacked"])),
    "a queue of control": Case(("the queue name 'a.celery.pidbox'", "rename it"), entry(queues=["a.celery.pidbox"])),
    "a route in Celery's own way": Case(
        ("celery_routes['shop.tasks.charge'] is {'queue': 'critical'}", "write the queue's name alone"),
        {"celery_routes": {"shop.tasks.charge": {"queue": "critical"}}},
    ),
    "a route of nothing": Case(("celery_routes has an empty name", "write a"), {"celery_routes": {"": "critical"}}),
}

UNDOING = {
    "a setting with a slip": Case(
        (
            "task_reject_on_worker_los is no setting of Celery's (did you mean 'task_reject_on_worker_lost'?)",
            "correct it",
        ),
        {"celery_settings": {"task_reject_on_worker_los": True}},
    ),
    "annotations of acknowledgement": Case(
        ("celery_settings.task_annotations.*.acks_late would change", "write 'delivery: at_most_once'"),
        {"celery_settings": {"task_annotations": {"*": {"acks_late": False}}}},
    ),
    "a time zone that is none": Case(
        ("celery_settings.timezone is 'Europe/Berln'", "did you mean 'Europe/Berlin'?", "write one"),
        {"celery_settings": {"timezone": "Europe/Berln"}},
    ),
    **{
        f"the variable {name}": Case(
            (f"celery_environment.{name} would change how workers or beat run", remedy),
            {"celery_environment": {name: "kept-quiet-var-3"}},
            hidden=("kept-quiet-var-3",),
        )
        for name, remedy in (
            ("REMAP_SIGTERM", "remove it"),
            ("CELERY_WORKER_CONCURRENCY", "write celery_workers"),
            ("CELERY_LOADER", "remove it"),
        )
    },
}

SETTINGS = {
    f"the setting {name}": Case(
        (f"celery_settings.{name} may not be set here", remedy), {"celery_settings": {name: value}}
    )
    for name, value, remedy in (
        ("task_always_eager", True, "remove it"),
        ("task_acks_late", False, "remove it"),
        ("accept_content", ["pickle"], "remove it"),
        ("task_serializer", "pickle", "remove it"),
        ("task_reject_on_worker_lost", False, "remove it"),
        ("broker_url", "amqp://guest@mq", "write celery_broker"),
        ("result_backend", "rpc://", "write celery_result_backend"),
        ("task_routes", {}, "write celery_routes"),
        ("task_queues", [], "write celery_workers"),
        ("worker_detect_quorum_queues", False, "remove it"),
        ("control_exchange", "shop", "remove it"),
        ("worker_direct", True, "remove it"),
    )
} | {
    "a setting of the old kind": Case(
        ("celery_settings has 'CELERY_ACKS_LATE'", "write Celery's names in lower case"),
        {"celery_settings": {"CELERY_ACKS_LATE": True}},
    ),
    "an address with a password among the settings": Case(
        ("celery_settings.cache.place[1] is an address with a password", "write it into celery_secret_environment"),
        {"celery_settings": {"cache": {"place": ["redis://h/1", "rediss://:kept-quiet/set-21@h/1?db=1"]}}},
        hidden=("set-21",),
    ),
    "an address with a password in its query among the settings": Case(
        ("celery_settings.hook is an address with a password", "write it into celery_secret_environment"),
        {"celery_settings": {"hook": "https://h/x?a=1&access_token=kept-quiet-set-22"}},
        hidden=("kept-quiet-set-22",),
    ),
    "a password among the settings": Case(
        ("celery_settings.redis_password is secret by its name", "write it into celery_secret_environment"),
        {"celery_settings": {"redis_password": "kept-quiet-set-23"}},
        hidden=("kept-quiet-set-23",),
    ),
    **{
        f"verification by {name}: {options}": Case(
            (f"celery_settings.{name}{where}", "could be the server", "celery_tls_ca_certificate"),
            {"celery_settings": {name: options}},
        )
        for name, options, where in (
            ("redis_backend_use_ssl", {"ssl_cert_reqs": "none"}, ".ssl_cert_reqs is 'none'"),
            ("redis_backend_use_ssl", {"ssl_cert_reqs": "CERT_OPTIONAL"}, ".ssl_cert_reqs is 'CERT_OPTIONAL'"),
            ("redis_backend_use_ssl", {"ssl_check_hostname": False}, ".ssl_check_hostname is False"),
            ("broker_use_ssl", {"cert_reqs": 0}, ".cert_reqs is 0"),
        )
    },
    "TLS that is switched on": Case(
        ("celery_settings.broker_use_ssl is True", "remove it"), {"celery_settings": {"broker_use_ssl": True}}
    ),
    "an address with a password in the plain environment": Case(
        ("celery_environment.DATABASE_URL is an address with a password", "celery_secret_environment"),
        {"celery_environment": {"DATABASE_URL": "postgres://shop:kept-quiet-env-24@db/shop"}},
        hidden=("kept-quiet-env-24",),
    ),
    "settings as a list": only("celery_settings", ["timezone"], "write a mapping"),
    "an environment of lists": Case(
        ("celery_environment.HOSTS is a list", "write a text in quotes"), {"celery_environment": {"HOSTS": ["a"]}}
    ),
    "an environment of truths": Case(
        ("celery_environment.DEBUG is true", "write a text in quotes"), {"celery_environment": {"DEBUG": True}}
    ),
    "an environment's name": Case(
        ("celery_environment has the name 'MY-NAME'", "write letters"), {"celery_environment": {"MY-NAME": "x"}}
    ),
    "a secret environment's list": Case(
        ("celery_secret_environment.KEYS is a list", "write a text in quotes"),
        {"celery_secret_environment": {"KEYS": ["kept-quiet-key-5d"]}},
        hidden=("kept-quiet-key-5d",),
    ),
    "a kill mode": Case(
        ("celery_service_options.KillMode would overrule the plan", "write nothing"),
        {"celery_service_options": {"KillMode": "control-group"}},
    ),
    "a stop time-out past the plan": Case(
        ("celery_service_options.TimeoutStopSec would overrule the plan", "write stop_timeout in celery_workers"),
        {"celery_service_options": {"TimeoutStopSec": 10}},
    ),
    "a memory limit past the plan": Case(
        ("celery_service_options.MemoryMax would overrule the plan", "write memory_max in celery_workers"),
        {"celery_service_options": {"MemoryMax": "1G"}},
    ),
}

SETTINGS |= {
    f"the setting {name}, of workers": Case(
        (f"celery_settings.{name} may not be set here", f"write {key} in celery_workers"),
        {"celery_settings": {name: 9}},
    )
    for name, key in (("task_time_limit", "time_limit"), ("worker_concurrency", "concurrency"), ("worker_pool", "pool"))
}
SETTINGS |= {
    f"a schedule {what}": Case(
        (f"celery_settings.beat_schedule{where}", remedy), {"celery_settings": {"beat_schedule": schedule}}
    )
    for what, schedule, where, remedy in (
        ("as a list", ["shop.tasks.sweep"], " is not a mapping", "write it like"),
        ("without a task", {"a": {"schedule": 60}}, ".a names no task", "write it like"),
        ("without a time", {"a": {"task": "shop.a"}}, ".a.schedule is None", "write a number of seconds"),
        ("of cron's", {"a": {"task": "shop.a", "schedule": "*/5 * * * *"}}, ".a.schedule is", "a crontab is Python's"),
        ("without a pause", {"a": {"task": "shop.a", "schedule": 0}}, ".a.schedule is 0", "more than 0"),
    )
}
SETTINGS |= {
    "an environment with the broker": Case(
        ("celery_environment.CELERY_BROKER_URL would be overruled", "write celery_broker"),
        {"celery_environment": {"CELERY_BROKER_URL": "amqp://ops:kept-quiet-env-61@mq"}},
        hidden=("kept-quiet-env-61",),
    ),
    "a zero byte": Case(
        ("celery_secret_environment.KEY contains a zero byte", "remove it"),
        text='celery_secret_environment: {KEY: "kept-quiet-zero-62\\0"}',
        hidden=("kept-quiet-zero-62",),
    ),
    "an option in small letters": Case(
        ("celery_service_options has 'killmode'", "write systemd's names"),
        {"celery_service_options": {"killmode": "none"}},
    ),
    "an option of two lines": Case(
        ("celery_service_options.ReadWritePaths does not fit on one line", "write a text"),
        {"celery_service_options": {"ReadWritePaths": "/srv\nUser=root"}},
    ),
    "an app that ends in a line break": only("celery_app", "shop.celery:app\n", "write it like 'shop.celery:app'"),
    "a user that ends in a line break": only("celery_user", "celery\n", "write a name of small letters"),
    **{
        f"the home {path!r}": only("celery_home", path, "write a whole path of letters")
        for path in ("/opt/my app", "/opt/../etc", "/opt/%h", "/opt/x\n")
    },
}

BROKERS = {
    f"the broker {url.split(':')[0]}": Case(
        ("celery_broker uses", said, "write rabbitmq, redis"), {"celery_broker": url}
    )
    for url, said in (
        ("sqla+postgresql://user@db/tasks", "a database"),
        ("django://", "a database"),
        ("mongodb://db/tasks", "a database"),
        ("memory://", "which is for tests"),
        ("filesystem://", "which is for tests"),
    )
} | {
    "a broker of no kind": only("celery_broker", "rabitmq", "is of the unknown kind", "write rabbitmq, redis"),
    "a password in the broker's URL": only(
        "celery_broker",
        "amqp://user:kept-quiet-url-99@broker/vhost",
        "carries a password",
        "celery_broker_password",
        hidden=("kept-quiet-url-99",),
    ),
    "a password in the query of the broker's URL": only(
        "celery_broker",
        "amqps://user@mq/x?heartbeat=10&%70assword=kept-quiet-url-97",
        "has a login in its query",
        "celery_broker_password",
        hidden=("kept-quiet-url-97",),
    ),
    "a password in the query of the backend's URL": only(
        "celery_result_backend",
        "rediss://cache/0?username=ops&password=kept-quiet-url-96",
        "has a login in its query",
        "celery_result_password",
        hidden=("kept-quiet-url-96",),
    ),
    "a broker that nobody verifies": only(
        "celery_broker", "rediss://mq/0?ssl_cert_reqs=none", "how the server is verified", "celery_tls_ca_certificate"
    ),
    "a query that overrules the plan": only("celery_broker", "amqp://mq/x?heartbeat=0", "has a query", "its '?'"),
    "a broker without a host": only("celery_broker", "amqp://", "names no host", "write it like"),
    "a broker's port": only(
        "celery_broker", "amqp://user@mq:99999/x", "is not a URL that can be read", "write it like"
    ),
    **{
        f"the application's own backend {url.split(':')[0]}": only(
            "celery_result_backend",
            url,
            "configures itself",
            "write 'celery_result_backend: application'",
            hidden=("kept-q",),
        )
        for url in ("django-db", "db+postgresql://user:kept-quiet-url-95@db/results", "cache+memcached://c/", "s3://x")
    },
    "results in queues": only(
        "celery_result_backend", "rpc://", "knows no chords", "write redis, none, or application"
    ),
    "a backend of no kind": only("celery_result_backend", "reddis", "unknown kind", "write redis, none, application"),
    "a password in the backend's URL": only(
        "celery_result_backend",
        "redis://:kept-quiet-url-98@cache/0",
        "carries a password",
        "celery_result_password",
        hidden=("kept-quiet-url-98",),
    ),
    "a scheme in capitals": only("celery_broker", "AMQP://user@mq/x", "which Celery does not know", "write amqp://"),
    "a database of Redis without a number": only("celery_broker", "redis://cache/tasks", "no database's number", "/0"),
    "somebody else's Sentinels": only("celery_broker", "sentinel://mq:26379", "write the redis:// URL of the primary"),
    "several brokers of somebody else's": only(
        "celery_broker", "amqp://user@mq1;amqp://user@mq2", "names more than one host", "write it like"
    ),
    "a broker with a blank": only("celery_broker", "amqp://my user@mq/x", "contains a blank", "write it like"),
    "a source with a token": only(
        "app_source",
        "https://example.org/shop.whl?token=kept-quiet-token-64",
        "write the directory or the wheel",
        hidden=("kept-quiet-token-64",),
    ),
    "a repository with a login": only(
        "rabbitmq_repository",
        {"uris": "https://robot:kept-quiet-apt-65@apt.example.org/x", "suites": "x", "key": __file__},
        "rabbitmq_repository.uris holds a login",
        "/etc/apt/auth.conf.d",
        hidden=("kept-quiet-apt-65",),
    ),
    "a requirement with a login": only(
        "app_requirements",
        ["shop @ https://robot:kept-quiet/robot-63@git.example.org/shop.whl"],
        "write it like redis==8.1.0",
        hidden=("robot-63",),
    ),
    "one user for two passwords": Case(
        ("celery_broker_user", "celery_monitor_user", "give them different names"),
        {"celery_broker": "redis", "celery_broker_user": "same", "celery_monitor_user": "same"},
    ),
}

COOKIE = "kept-quiet-cookie-of-a-cluster-5e"


def cluster(
    *said: str, brokers: int = 3, hosts: dict[str, dict[str, str]] | None = None, cookie: str = COOKIE, **values: Any
) -> Case:
    """RabbitMQ on three hosts."""
    return Case(
        said,
        {"rabbitmq_erlang_cookie": cookie, **values},
        base="cluster",
        groups={"broker": [f"node{number}" for number in range(1, brokers + 1)]},
        hosts=hosts or {},
        hidden=(COOKIE,),
    )


CLUSTERS = {
    "an even number of nodes": cluster(
        "the inventory group 'broker' holds 2 hosts (node1, node2), and an even number of nodes survives no more",
        "put 3 hosts into it, or leave 1",
        brokers=2,
    ),
    "two nodes of one name": cluster(
        "rabbitmq_node_name is rabbit@node1 for node1, node2, and the nodes of a cluster need a name each",
        "write rabbitmq_node_name for each of these hosts",
        hosts={"node2": {"rabbitmq_node_name": "rabbit@node1"}},
    ),
    "an address that is a name, which may not resolve": cluster(
        "celery_address of node2 is 'node2.internal', which is no IPv4 address",
        "write its private one",
        hosts={"node2": {"celery_address": "node2.internal"}},
    ),
    "a name that no node can have": cluster(
        "rabbitmq_node_name is 'rabbit@node 2': write name@host",
        hosts={"node2": {"rabbitmq_node_name": "rabbit@node 2"}},
    ),
    "cookies that differ": cluster(
        "rabbitmq_erlang_cookie differs between node1, node2, node3, so they could not form a cluster",
        "write it once",
        hosts={"node2": {"rabbitmq_erlang_cookie": "another-cookie-of-a-test"}},
    ),
    "no cookie": cluster(
        "rabbitmq_erlang_cookie is empty, and the nodes of a cluster must share one", "set it, from a vault", cookie=""
    ),
}

REPLICATED = {"celery_broker": "redis", "redis_sentinel_password": "kept-quiet-sentinel-44"}


def both(count: int) -> dict[str, list[str]]:
    """So many hosts of Redis."""
    return {group: [f"redis{number}" for number in range(1, count + 1)] for group in ("broker", "backend")}


def replicas(*said: str, groups: dict[str, list[str]] | None = None, **values: Any) -> Case:
    """Redis as broker and for results, on three hosts."""
    hidden = (str(REPLICATED["redis_sentinel_password"]),)
    return Case(said, {**REPLICATED, **values}, base="replicas", groups=groups or {}, hidden=hidden)


REDIS = {
    "no majority of the Sentinels": replicas(
        "redis_sentinel_quorum is 1, no majority of 3 Sentinels: write 2", redis_sentinel_quorum=1
    ),
    "more votes than there are Sentinels": replicas(
        "redis_sentinel_quorum is 4, but there are 3 Sentinels, so no replica could ever take over: write 2",
        redis_sentinel_quorum=4,
    ),
    "two hosts of Redis": replicas(
        "the inventory group 'broker' holds 2 hosts of Redis (redis1, redis2)",
        "put 3 hosts into it, or 1",
        groups=both(2),
    ),
    "four hosts of Redis": replicas(
        "neither half is a majority and no replica takes over; put 5 hosts into it, or 3", groups=both(4)
    ),
    "results on some of the brokers": replicas(
        "have only some hosts in common", "put the same hosts into both", groups={"backend": ["redis1"]}
    ),
    "no password for Sentinel": replicas(
        "redis_sentinel_password is empty: set it, from a vault, to 12 characters or more", redis_sentinel_password=""
    ),
    "a setting of RabbitMQ": replicas(
        "celery_settings.broker_heartbeat is about RabbitMQ",
        "write 'celery_broker: rabbitmq'",
        celery_settings={"broker_heartbeat": 10},
    ),
    "a visibility time-out of one's own": replicas(
        "celery_settings.broker_transport_options may not be set here; remove it",
        celery_settings={"broker_transport_options": {"visibility_timeout": 10}},
    ),
}

# --- secrets ----------------------------------------------------------------------------------------------------

MISSING = {
    f"no {name}": Case((name, "vault"), without=(name,))
    for name in SECRETS
    if name not in ("celery_sentry_dsn", "celery_secret_environment")
}
PLACEHOLDERS = {
    f"{name}, which is {text!r}": Case((f"{name} is still a placeholder", "write a value of its own"), {name: text})
    for name, text in (
        ("celery_broker_password", "change-me"),
        ("celery_monitor_password", "CHANGE_ME_PLEASE"),
        ("celery_result_password", "<password>"),
        ("rabbitmq_admin_password", "your-password-here"),
        ("rabbitmq_erlang_cookie", "xxxxxxxxxxxxxxxxxxxxxxxx"),
        ("flower_password", "secret"),
        ("bugsink_admin_password", "password123456"),
        ("celery_broker_password", "ChangeThisPassword"),
        ("celery_monitor_password", "insert password here"),
        ("celery_result_password", "your_secure_password"),
        ("rabbitmq_admin_password", "guestguest12"),
        ("flower_password", "dummy-password"),
        ("bugsink_admin_password", "xxx-xxx-xxx-xxx"),
        ("bugsink_secret_key", "replace-this-with-32-characters-or-more"),
    )
}
WRONG_SECRETS = {
    "a short broker password": Case(
        ("celery_broker_password", "characters", "use 12 or more"),
        {"celery_broker_password": "kq-7b3"},
        hidden=("kq-7b3",),
    ),
    "a short password of Flower": Case(
        ("flower_password has only 6 characters", "use 12 or more"), {"flower_password": "kq-7b4"}, hidden=("kq-7b4",)
    ),
    "a password that is a number": Case(
        ("rabbitmq_admin_password", "put it in quotes"),
        {"rabbitmq_admin_password": 482910475512},
        hidden=("482910475512",),
    ),
    "a password that is a list": Case(
        ("celery_broker_password is a list", "write a text"),
        {"celery_broker_password": ["kept-quiet-listed-31"]},
        hidden=("kept-quiet-listed-31",),
    ),
    "a password of two lines": Case(
        ("flower_password contains a line break", "use one plain line"),
        {"flower_password": "kept-quiet\nsecond-line-11"},
        hidden=("second-line-11",),
    ),
    "a short signing key": Case(
        ("bugsink_secret_key has only 20 characters", "use 32 or more"),
        {"bugsink_secret_key": "kq9f2c71e3b85d604a1c"},
        hidden=("kq9f2c71e3b85d604a1c",),
    ),
    "a project key in capitals": Case(
        ("bugsink_project_key is not 32 digits", "openssl rand -hex 16"),
        {"bugsink_project_key": "7E19C4D2B8A35F60916FD3A27C84BE05"},
        hidden=("7E19C4D2B8A35F60916FD3A27C84BE05",),
    ),
    "a token too short": Case(
        ("bugsink_api_token is not 40 digits", "openssl rand -hex 20"),
        {"bugsink_api_token": "c52d8e7f1a90"},
        hidden=("c52d8e7f1a90",),
    ),
    "a cookie too short": Case(
        ("rabbitmq_erlang_cookie", "20 to 255"), {"rabbitmq_erlang_cookie": "KQCOOKIE77"}, hidden=("KQCOOKIE77",)
    ),
    "a password from nowhere": Case(
        ("celery_broker_password uses vault_broker_password, which is not defined", "define it"),
        text="celery_broker_password: '{{ vault_broker_password }}'",
        without=("celery_broker_password",),
    ),
    "a password in a vault that is shut": Case(
        ("celery_broker_password is encrypted", "give the right one"),
        text="celery_broker_password: !vault |\n"
        "  $ANSIBLE_VAULT;1.1;AES256\n"
        "  61323931353866666336306139373937316366366138656131323863373866376666353561306463\n",
        without=("celery_broker_password",),
    ),
    **{
        f"a DSN {what}": Case(("sentry_dsn", said, "write it as the tracker shows it"), {"celery_sentry_dsn": dsn})
        for what, dsn, said in (
            ("without its key", "https://errors.example.org/1", "has no public key"),
            ("without a project", "https://0c0ffee@errors.example.org/", "does not end in a project number"),
            ("of another scheme", "ftp://0c0ffee@errors.example.org/1", "starts with neither"),
            ("with a blank", "https://0c0ffee@errors.example.org/1 ", "contains a blank"),
        )
    },
}

# --- services ---------------------------------------------------------------------------------------------------

SERVICES = {
    f"{variable} of {value!r}": only(variable, value, remedy)
    for variable, value, remedy in (
        ("rabbitmq_port", 0, "write a whole number"),
        ("rabbitmq_port", 70000, "write a whole number"),
        ("rabbitmq_management_port", 5672, "give each its own port"),
        ("rabbitmq_address", "broker.example.org", "write this host's private one"),
        ("rabbitmq_address", EVERYWHERE, "rabbitmq_allow_public"),
        ("rabbitmq_management_address", "8.8.8.8", "rabbitmq_allow_public"),
        ("rabbitmq_memory_high_watermark", 1.5, "write a share"),
        ("rabbitmq_disk_free_limit", "plenty", "write a size"),
        ("rabbitmq_consumer_timeout", 1000, "write a whole number"),
        ("rabbitmq_max_message_size", 10, "write a whole number"),
        ("rabbitmq_channel_max", 100000, "write a whole number"),
        ("rabbitmq_nofile", 100, "write a whole number"),
        ("rabbitmq_node_name", "rabbit", "write name@host"),
        ("rabbitmq_admin_user", "guest", "name the administrator"),
        ("rabbitmq_settings", {"consumer_timeout": 1}, "write rabbitmq_consumer_timeout"),
        ("rabbitmq_users", [{"password": "kept-quiet-user-41"}], "write name: ..."),
        ("rabbitmq_absent_users", "guest", "write a list"),
        ("redis_port", 65536, "write a whole number"),
        ("redis_maxmemory", "0MB", "write a size"),
        ("redis_appendfsync", "sometimes", "write"),
        ("redis_appendfsync", False, "in quotes"),
        ("redis_address", "::", "redis_allow_public"),
        ("redis_users", [], "name at least one user"),
        ("redis_databases", 0, "write a whole number"),
        ("redis_maxclients", 3, "write a whole number"),
        ("redis_settings", {"save me": "x"}, "both on one line"),
        ("flower_port", 80, "write a whole number from 1024"),
        ("flower_address", "203.0.113.77", "flower_address"),
        ("flower_user", "a:b", "leave it out"),
        ("flower_options", {"port": 1}, "set flower_port"),
        ("flower_broker_api", "http://127.0.0.1:15672", "with the slash at its end"),
        ("flower_max_tasks", 5, "write a whole number"),
        ("flower_memory_max", "big", "write a size"),
        ("bugsink_base_url", "errors.example.org", "write one such as"),
        ("bugsink_base_url", "https://errors.example.org/", "without a slash at the end"),
        ("bugsink_admin_email", "ops", "write one such as"),
        ("bugsink_team", "", "give it a name"),
        ("bugsink_port", 443, "write a whole number from 1024"),
        ("bugsink_web_workers", 0, "write a whole number"),
        ("bugsink_max_events", 5, "write a whole number"),
        ("beat_memory_max", "1M", "write 64MB or more"),
        ("flower_memory_max", "1", "write 64MB or more"),
        ("redis_maxmemory", "1", "write 16MB or more"),
        ("beat_memory_max", "a lot", "write a size"),
        ("beat_log_level", "LOUD", "write one of DEBUG"),
        ("sentry_sample_rate", 2, "write a number from 0.0"),
        ("celery_sentry_environment", "pro duction", "write 1 to 64 characters"),
        ("worker_surge", -1, "write a whole number"),
    )
    if value != "203.0.113.77"
} | {
    "one port for two services": Case(
        ("flower_port and bugsink_port are both 8000 on one host", "give one of them another port"),
        {"flower_port": 8000},
    ),
    "Flower for everybody": Case(
        ("flower_address is 8.8.8.8", "write its private address"), {"flower_address": "8.8.8.8"}
    ),
    "a password in Bugsink's address": only(
        "bugsink_base_url",
        "https://ops:kept-quiet-web-70@errors.example.org",
        "write scheme, host, port and path only",
        hidden=("kept-quiet-web-70",),
    ),
}

# --- names and types --------------------------------------------------------------------------------------------


def specified() -> Iterator[tuple[str, str]]:
    """Of each role the first variable of each type, and the type."""
    for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        options = yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
        if path.parts[-3] not in ELSEWHERE:
            yield from {option["type"]: name for name, option in reversed(options.items())}.items()


#: Roles that no host of this inventory carries by itself.
ELSEWHERE = ("runtime", "tls")
#: Of each type a value that is none; of a text a mapping, as a forgotten quote makes it.
OTHER = {"str": {"a": "b"}, "int": "many", "float": "half", "bool": "maybe", "list": {"a": 1}, "dict": ["a"]}
TYPES = {
    f"the type of {name}": only(name, OTHER[kind], " is ", "write ") for kind, name in specified() if kind in OTHER
}
NAMES = {
    f"the name {name}": Case((f"{name} is no variable of this collection", said, "celery_own_variables"), {name: 1})
    for name, said in (
        ("celery_brocker", "did you mean 'celery_broker'?"),
        ("celery_worker", "did you mean 'celery_workers'?"),
        ("celery_route", "did you mean 'celery_routes'?"),
        ("celery_broker_pasword", "did you mean 'celery_broker_password'?"),
        ("celery_plan", "correct the name or remove it"),
        ("celery_sandbox", "correct the name or remove it"),
        ("app_sources", "did you mean 'app_source'?"),
        ("worker_surges", "did you mean 'worker_surge'?"),
        ("beat_memory", "did you mean 'beat_memory_max'?"),
        ("flower_pasword", "did you mean 'flower_password'?"),
        ("rabbitmq_consumer_time_out", "did you mean 'rabbitmq_consumer_timeout'?"),
        ("redis_max_memory", "did you mean 'redis_maxmemory'?"),
        ("bugsink_baseurl", "did you mean 'bugsink_base_url'?"),
        ("sentry_samplerate", "did you mean 'sentry_sample_rate'?"),
    )
} | {
    "a name on the command line": Case(
        ("celery_workerz is no variable", "did you mean 'celery_workers'?"), arguments=("-e", "celery_workerz=1")
    ),
    "a name of one host": Case(
        ("worker2: worker_srge is no variable", "did you mean 'worker_surge'?"),
        base="several",
        hosts={"worker2": {"worker_srge": 1}},
    ),
    "an expression of nothing": Case(
        ("celery_default_queue uses nowhere, which is not defined", "define it"),
        text="celery_default_queue: '{{ nowhere }}'",
    ),
    "an expression without its end": Case(
        ("flower_port is no expression that Jinja can read", "look for a missing bracket"),
        text="flower_port: '{{ 5555 '",
    ),
    "an expression of a missing part": Case(
        ("flower_port asks something for its 'ports'", "correct the expression"),
        text="flower_port: '{{ celery_workers.default.ports }}'",
    ),
    "a name for itself": Case(
        ("celery_app is made of itself", "write the value"), text="celery_app: '{{ celery_app }}'"
    ),
    "an expression of itself": Case(
        ("flower_port is made of itself", "write the value"), text="flower_port: '{{ flower_port | int + 1 }}'"
    ),
    "a filter nobody has": Case(
        ("flower_port uses the filter celeryops_nothing", "correct its name"),
        text="flower_port: '{{ 5555 | celeryops_nothing }}'",
    ),
    "own names that are a text": only("celery_own_variables", "app_color", "write a list"),
}

# --- inventories ------------------------------------------------------------------------------------------------

INVENTORIES = {
    "no host at all": Case(
        ("the inventory has no host in any of the groups", "name the right inventory with -i"),
        groups={kind: [] for kind in KINDS},
    ),
    "groups of other names": Case(
        ("the inventory has a group 'workers'", "did you mean 'worker'?", "rename it"),
        groups={"worker": [], "workers": ["server"]},
    ),
    "no worker host": Case(
        ("the inventory group 'worker' is empty", "put at least one host into it"), groups={"worker": []}
    ),
    "no broker host": Case(("the inventory group 'broker' is empty", "put the host"), groups={"broker": []}),
    "no backend host": Case(
        ("the inventory group 'backend' is empty", "celery_result_backend: none"), groups={"backend": []}
    ),
    "two beats": Case(
        ("the inventory group 'beat' holds 2 hosts", "leave exactly one host in it"),
        base="several",
        groups={"beat": ["worker1", "worker2"]},
    ),
    "a schedule and no beat": Case(
        ("celery_settings.beat_schedule", "put exactly one host into the group"),
        {"celery_settings": {"beat_schedule": {"a": {"task": "shop.a", "schedule": 60}}}},
        groups={"beat": []},
    ),
    "Flower and no monitor": Case(("flower_user is set", "put a host into the group"), groups={"monitor": []}),
    "a worker on a stranger": Case(
        ("hosts names worker9, not in the inventory group 'worker'", "write some of: worker1, worker2"),
        entry(hosts=["worker9"]),
        base="several",
    ),
    "a worker on the broker's host": Case(
        ("hosts names broker1, not in the inventory group 'worker'", "write some of"),
        entry(hosts=["broker1"]),
        base="several",
    ),
    "workers of two kinds": Case(
        ("celery_workers differs between hosts", "declare it once in group_vars/all"),
        base="several",
        hosts={"worker2": {"celery_workers": {"other": WORKER}}},
    ),
    "one address for two": Case(
        ("celery_address is 10.0.0.77 on worker1 and worker2", "write each host's own"),
        base="several",
        hosts={"worker1": {"celery_address": "10.0.0.77"}, "worker2": {"celery_address": "10.0.0.77"}},
    ),
    "loopback for many": Case(
        ("celery_address of broker1 is 127.0.0.1", "write its private address"),
        base="several",
        hosts={"broker1": {"celery_address": "127.0.0.1"}},
    ),
    "a vhost of one host": Case(
        ("celery_vhost of worker2 is another than that of broker1", "write it once"),
        {"celery_vhost": "shop"},
        base="several",
        hosts={"worker2": {"celery_vhost": "shop2"}},
    ),
    "a password of one host": Case(
        ("celery_broker_password of worker2 is another than that of", "write it once"),
        base="several",
        hosts={"worker2": {"celery_broker_password": "kept-quiet-lonely-64"}},
        hidden=("kept-quiet-lonely-64",),
    ),
    "an address with its network": Case(
        ("celery_address of worker1 is '10.0.0.9/24'", "write its private one"),
        base="several",
        hosts={"worker1": {"celery_address": "10.0.0.9/24"}},
    ),
    "an address of six": Case(
        ("celery_address of broker1 is 'fd00::5'", "write its private one"),
        base="several",
        hosts={"broker1": {"celery_address": "fd00::5"}},
    ),
    "a host's name with an at": Case(
        ("the inventory's host 'ops@server'", "rename it"),
        groups={kind: ["ops@server"] for kind in KINDS},
    ),
    "an inventory that is not there": Case(
        ("the inventory has no host in any of the groups", "name the right inventory with -i"),
        base="nowhere",
    ),
}

# --- hosts ------------------------------------------------------------------------------------------------------

GIB = 1024**3
HOSTS = {
    "Ubuntu": Case(("the host runs ubuntu 24.04", "use Debian 12"), facts={"system": "ubuntu", "version": "24.04"}),
    "an old Debian": Case(("the host runs debian 11", "use Debian 12"), facts={"version": "11"}),
    "an old systemd": Case(("systemd 247", "252 or newer"), facts={"systemd": 247}),
    "a host of another deployment": Case(
        (
            "that of the deployment 'blog.celery:app' (there called 'web1', in the inventory 'blog')",
            "write 'celery_replaces: blog.celery:app'",
        ),
        facts={"deployment": {"deployment": "blog.celery:app", "host": "web1", "inventory": "blog"}},
    ),
    "a host of another deployment of the same application": Case(
        ("that of the deployment 'shop.celery:app'", "this one, 'shop-eu'", "use another host"),
        {"celery_deployment": "shop-eu"},
        facts={"deployment": {"deployment": "shop.celery:app"}},
    ),
    "no systemd": Case(("no systemd", "252 or newer"), facts={"systemd": 0}),
    "an old Python": Case(("a Python 3.9.2", "write the path of one that is 3.11"), facts={"python": [3, 9, 2]}),
    "no Python": Case(
        ("celery_python is /opt/py/bin/python, which is not on the host", "write the path"),
        facts={"python": [], "python_path": "/opt/py/bin/python"},
    ),
    "little memory": Case(
        ("the host has 2048M of memory, and its units may take", "lower some of them"), facts={"memory": 2 * GIB}
    ),
    "workers of much memory": Case(
        ("memory_max of default 16384M", "lower some of them"), entry(memory_max="4G", instances=4)
    ),
    "a full disk": Case(
        ("the file system / has 100M free", "make room"), facts={"free": {"/": 100 * 1024**2, "/var": 20 * GIB}}
    ),
    "a disk too small for the broker": Case(
        ("rabbitmq_disk_free_limit needs 51200M", "make room"), {"rabbitmq_disk_free_limit": "50GB"}
    ),
    "a disk too small for results": Case(
        ("redis_maxmemory needs 2048M", "write a smaller redis_maxmemory"),
        {"redis_maxmemory": "1GB"},
        facts={"free": {"/": 40 * GIB, "/var": int(1.5 * GIB)}},
    ),
    "a port of somebody else's": Case(
        ("rabbitmq_port is 5672, where qpidd.service listens", "write another port"),
        facts={"listening": [{"port": 5672, "address": EVERYWHERE, "unit": "qpidd.service"}]},
    ),
    "a port of Docker's": Case(
        ("redis_port is 6379, where docker.service listens", "write another port"),
        facts={"listening": [{"port": 6379, "address": "::", "unit": "docker.service"}]},
    ),
}

SAID_BY_HAND = (
    APPLICATION,
    WORKERS,
    SETTINGS,
    UNDOING,
    BROKERS,
    CLUSTERS,
    REDIS,
    MISSING,
    PLACEHOLDERS,
    WRONG_SECRETS,
    SERVICES,
    INVENTORIES,
    HOSTS,
)
CASES: dict[str, Case] = {}
for table in (*SAID_BY_HAND, TYPES, NAMES):
    assert not CASES.keys() & table.keys()
    CASES |= table


def as_texts() -> dict[str, str]:
    """The default of each number and truth of every role, as an inventory in INI format gives it."""
    files = (ROOT / "roles").glob("*/meta/argument_specs.yml")
    specs = [yaml.safe_load(file.read_text())["argument_specs"]["main"]["options"] for file in files]
    return {
        name: str(option["default"]).lower()
        for options in specs
        for name, option in options.items()
        if option["type"] in ("bool", "int", "float") and not isinstance(option["default"], str)
    }


ACCEPTED = {
    "one host": Case(()),
    "several hosts": Case((), base="several"),
    "a RabbitMQ cluster": cluster(),
    "a RabbitMQ cluster over TLS": cluster(celery_tls=True),
    "Redis with replicas": replicas(),
    "own names": Case(
        (), {"celery_own_variables": ["app_color", "worker_shift_*"], "app_color": 1, "worker_shift_a": 2}
    ),
    "texts for numbers and truths, as INI files have them": Case((), as_texts()),
    "texts for numbers and truths of Redis": replicas(**as_texts()),
    "a host of its own": Case((), facts={"deployment": {"deployment": "shop.celery:app", "host": "old-name"}}),
    "a host of the one that it replaces": Case(
        (), {"celery_replaces": "store.celery:app"}, facts={"deployment": {"deployment": "store.celery:app"}}
    ),
    "one truth, written in several ways": cluster(
        celery_tls=True, hosts={"node2": {"celery_tls": "true"}, "node3": {"celery_tls": "yes"}}
    ),
    "a port of our own": Case(
        (), facts={"listening": [{"port": 5672, "address": "::", "unit": "rabbitmq-server.service"}]}
    ),
    "the application's own results": Case(
        (),
        {"celery_result_backend": "application"},
        without=("celery_result_password",),
        groups={"backend": []},
    ),
    "no results, no tracker": Case(
        (),
        {"celery_result_backend": "none"},
        without=("celery_result_password", "celery_sentry_dsn", *(name for name in SECRETS if "bugsink" in name)),
        groups={"backend": [], "tracker": []},
    ),
    "several commands": Case(
        (),
        {"app_once": [["python", "manage.py", "migrate"], ["true"]], "app_audit": ["true", 1], "app_after": ["true"]},
    ),
    "an expression": Case((), text='celery_default_queue: "{{ celery_workers | first }}"'),
    "one host of several": Case(
        (),
        base="several",
        arguments=("--limit=worker1",),
        hosts={
            name: {"celery_address": f"10.0.1.{number}", "rabbitmq_node_name": "rabbit@broker1"}
            for number, name in enumerate(("broker1", "worker1", "worker2", "monitor1"), 1)
        },
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str, run: Callable[[Case], Outcome]) -> None:
    """What comes after the task in question needs a real host."""
    outcome = run(ACCEPTED[name])
    assert "Nothing was changed" not in outcome.said, outcome.output
    assert re.search(r"TASK \[Everything that is known [^]]*\] \*+\s+ok: ", outcome.output), outcome.output


@pytest.mark.parametrize(
    "inventory",
    [
        path.parent
        for pattern in ("inventories/*/hosts.yml", "molecule/*/inventory/hosts.yml")
        for path in ROOT.glob(pattern)
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_inventories_of_this_repository_are_accepted(inventory: Path, trials: Trials, tmp_path: Path) -> None:
    groups = yaml.safe_load((inventory / "hosts.yml").read_text())["all"].get("children", {})
    if "worker" in groups:
        names = sorted({name for group in groups.values() for name in group["hosts"]})
        # What their facts would tell.
        addresses = {name: {"celery_address": f"10.0.0.{number}"} for number, name in enumerate(names, 1)}
        (tmp_path / "addresses.yml").write_text(yaml.safe_dump({"all": {"hosts": addresses}}))
        outcome = trials.play("plan", inventory, tmp_path, f"--inventory={tmp_path}/addresses.yml")
        assert outcome.code == 0, outcome.output


def test_the_plan_tells_what_the_sources_lack(trials: Trials, tmp_path: Path) -> None:
    case = APPLICATION["an application without a client of Redis"]
    write(case, tmp_path)
    is_refused(case, trials.play("plan", tmp_path / "inventory", tmp_path))


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, run: Callable[[Case], Outcome]) -> None:
    case = CASES[name]
    is_refused(case, run(case))


def is_refused(case: Case, outcome: Outcome) -> None:
    assert outcome.code != 0, outcome.output
    for part in case.said:
        assert part in outcome.said, outcome.output
    assert not re.search("Traceback|jinja2|most recent call", outcome.output), outcome.output
    for secret in (*SECRETS.values(), *VARIABLES["celery_secret_environment"].values(), *case.hidden):
        assert secret not in outcome.output, outcome.output
    assert outcome.asked <= {"setup", "host_facts"}, "the host was touched"
    assert not re.search(r"changed=[1-9]", outcome.output)


# --- certificates that somebody else made --------------------------------------------------------------------------

NODES = ("node1", "node2", "node3")
#: What is wrong, what it says, for which hosts it is, and in how many days it ends.
CERTIFICATES = {
    "expired": ("celery_tls_certificate ({}) expired on", NODES, -1),
    "for other hosts": ("celery_tls_certificate ({}) is not for 10.0.0.1", ("node7", "node8", "node9"), 90),
    "for no node of a cluster": ("celery_tls_certificate ({}) is not for a node of a cluster", (), 90),
}


def certificates(place: Path, names: tuple[str, ...], days: int) -> dict[str, Any]:
    """A CA, and one certificate for all these hosts, with the addresses that they have here."""
    now, by = datetime.now(UTC), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")])
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def sign(subject: x509.Name, of: ec.EllipticCurvePrivateKey, until: int, *more: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(of.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=30)).not_valid_after(now + timedelta(days=until))
        for each in more:
            builder = builder.add_extension(each, critical=False)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)

    addresses = ["127.0.0.1", *(f"10.0.0.{name[-1]}" for name in names or NODES)]
    whom = [*map(x509.DNSName, ("localhost", *names)), *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses)]
    files = {
        "celery_tls_ca_certificate": sign(by, ca_key, 365, x509.BasicConstraints(True, None)),
        "celery_tls_certificate": sign(x509.Name([]), key, days, x509.SubjectAlternativeName(whom)),
        "celery_tls_private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    for name, content in files.items():
        (place / name).write_bytes(content)
    return {name: str(place / name) for name in files}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_cannot_work_is_refused(name: str, run: Callable[[Case], Outcome], tmp_path: Path) -> None:
    said, hosts, days = CERTIFICATES[name]
    files = certificates(tmp_path, hosts, days)
    case = cluster(said.format(files["celery_tls_certificate"]), celery_tls=True, **files)
    is_refused(case, run(case))


def test_a_certificate_that_works_is_taken(run: Callable[[Case], Outcome], tmp_path: Path) -> None:
    outcome = run(cluster(celery_tls=True, **certificates(tmp_path, NODES, 90)))
    assert "celery_tls_certificate" not in outcome.said, outcome.output
    assert "rabbitmq_data" in outcome.asked, "the next thing is to look at the hosts"
