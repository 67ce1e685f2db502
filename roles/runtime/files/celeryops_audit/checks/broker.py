# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker's address, what travels to it, and how long one waits for it."""

from __future__ import annotations

from celeryops_audit.facts import names
from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check

#: Schemes that kombu speaks and that must never carry production tasks.
DATABASES = ("sqla", "db", "sqlalchemy", "django", "sqlite", "postgresql", "postgres", "mysql", "mongodb")
TOYS = ("memory", "filesystem", "file", "consul", "etcd", "zookeeper", "slmq", "pyro", "qpid", "kafka+memory")
PICKLES = ("pickle", "application/x-python-serialize")


@check(
    "broker-forbidden",
    "The broker is a database, or a toy",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=1,
    fix="use RabbitMQ (amqp://, amqps://) or Redis (redis://, rediss://)",
    why="A database that is asked for work again and again is slow under load, locks rows against itself and hands "
    "tasks out twice. Transports such as `memory` and `filesystem` are there for tests: they keep no task safe.",
    read=[
        "https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/index.html#broker-overview",
        "https://denibertovic.com/posts/celery-best-practices/",
    ],
)
def broker_forbidden(check: Check, audit: Audit) -> Found:
    for broker in audit.loaded.brokers:
        family = broker.scheme.split("+")[0]
        if family in DATABASES or family in TOYS or broker.scheme in TOYS:
            what = "a database" if family in DATABASES else "a transport for tests"
            yield check.found(f"the broker is {broker.scheme}://, {what}", place=audit.loaded.place)


@check(
    "broker-default-credentials",
    "A broker elsewhere is entered as guest",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    fix="make a user of its own for the application, with a password from a vault",
    why="guest with the password guest is RabbitMQ's administrator, and known to everybody. RabbitMQ refuses it over "
    "the network unless somebody switched that off.",
    read=["https://www.rabbitmq.com/docs/access-control#default-state"],
)
def broker_default_credentials(check: Check, audit: Audit) -> Found:
    for broker in audit.loaded.brokers:
        if broker.default_credentials and not broker.loopback:
            yield check.found(f"the broker at {broker.host} is entered as guest", place=audit.loaded.place)


@check(
    "broker-public-without-tls",
    "The broker's password crosses the internet unencrypted",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    fix="write amqps:// or rediss://, or reach the broker over a private network",
    why="Password and every task's arguments can be read, and changed, by anybody on the way.",
    read=["https://www.rabbitmq.com/docs/ssl", "https://docs.celeryq.dev/en/stable/userguide/security.html"],
)
def broker_public_without_tls(check: Check, audit: Audit) -> Found:
    for broker in audit.loaded.brokers:
        if broker.public and not broker.tls:
            yield check.found(
                f"the broker has the public address {broker.host} and is spoken to without TLS",
                place=audit.loaded.place,
            )


@check(
    "broker-without-tls",
    "The connection to the broker is not encrypted",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    fix="write amqps:// or rediss://, or accept this with the network that protects it as the reason",
    why="Who can listen on the network between worker and broker reads the password and all arguments. On a private "
    "network or in a VPN that may be a decision; it should be one.",
    read=["https://www.rabbitmq.com/docs/ssl"],
)
def broker_without_tls(check: Check, audit: Audit) -> Found:
    for broker in audit.loaded.brokers:
        family = broker.scheme.split("+")[0]
        if family in ("amqp", "pyamqp", "librabbitmq", "redis", "sentinel") and not (
            broker.tls or broker.loopback or broker.public
        ):
            yield check.found(f"the broker {broker.host} is spoken to without TLS", place=audit.loaded.place)


@check(
    "broker-without-timeouts",
    "A broker that stops to answer is waited for without end",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    fix="broker_transport_options = {'read_timeout': 20, 'write_timeout': 20} for RabbitMQ, {'socket_timeout': 15} for "
    "Redis; redis_socket_timeout for results",
    why="A peer that keeps the connection open and says nothing (a frozen host, a firewall that drops packets) hangs "
    "a worker, or a web request that sends a task, until somebody restarts it.",
    read=["https://docs.celeryq.dev/en/stable/userguide/configuration.html#broker-transport-options"],
)
def broker_without_timeouts(check: Check, audit: Audit) -> Found:
    app = audit.loaded
    wanted = {"amqp": ("read_timeout", "write_timeout"), "redis": ("socket_timeout",)}.get(app.kind, ())
    if missing := [name for name in wanted if not app.transport.get(name)]:
        yield check.found(f"broker_transport_options has no {' and no '.join(missing)}", place=app.place)
    if app.backend == "redis" and not app.conf.get("redis_socket_timeout"):
        yield check.found("redis_socket_timeout is empty, so results are waited for without end", place=app.place)


@check(
    "pickle-accepted",
    "Workers accept pickled messages",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=2,
    fix="accept_content = ['json']",
    why="Unpickling runs whatever the message says. Who can write to the broker then runs code as the worker's user.",
    read=[
        "https://docs.celeryq.dev/en/stable/userguide/security.html#serializers",
        "https://docs.python.org/3/library/pickle.html",
    ],
)
def pickle_accepted(check: Check, audit: Audit) -> Found:
    for setting in ("accept_content", "result_accept_content"):
        if any(kind in PICKLES for kind in audit.loaded.conf.get(setting) or ()):
            yield check.found(f"{setting} contains pickle", place=audit.loaded.place)


@check(
    "pickle-used",
    "Messages are pickled",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=2,
    fix="use json, and pass ids instead of objects",
    why="A pickled object is a copy of what was true when it was sent, can be read only by the same version of the "
    "code, and forces every worker to accept pickle.",
    read=["https://docs.celeryq.dev/en/stable/userguide/security.html#serializers"],
)
def pickle_used(check: Check, audit: Audit) -> Found:
    app = audit.loaded
    for setting in ("task_serializer", "result_serializer"):
        if app.conf.get(setting) == "pickle":
            yield check.found(f"{setting} is pickle", place=app.place)
    if app.conf.get("task_serializer") != "pickle":
        for task in audit.tasks:
            if task.serializer == "pickle":
                yield check.found(f"{task.name} is sent pickled", task)


@check(
    "no-publisher-confirms",
    "A message that the broker refused is lost silently",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    practice=11,
    fix="broker_transport_options = {'confirm_publish': True}",
    why="Late acknowledgement protects a task from the moment the broker has it. Without confirms nobody knows whether "
    "it ever got there: a publish into a full queue or a closing connection just vanishes.",
    read=["https://www.rabbitmq.com/docs/confirms#publisher-confirms"],
    broker="amqp",
)
def no_publisher_confirms(check: Check, audit: Audit) -> Found:
    app = audit.loaded
    late = [task.name for task in audit.tasks if audit.late(task)]
    if late and not app.transport.get("confirm_publish"):
        yield check.found(
            f"confirm_publish is off, though tasks are to be reliable ({names(late)} acknowledge late)", place=app.place
        )
