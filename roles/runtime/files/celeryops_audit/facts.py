# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known: of the application (it was loaded), of the deployment (the plan), of the broker (it was asked).

Plain data that travels as JSON. No secret is among it: a broker's URL is taken apart where the application is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")


def made(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass of a mapping, which may hold more than is asked for."""
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in names})


# --- the application ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Somewhere in the source."""

    file: str
    line: int = 1


@dataclass(frozen=True)
class Broker:
    """One of the broker's URLs, taken apart."""

    scheme: str
    host: str = ""
    user: str = ""
    default_credentials: bool = False
    loopback: bool = False
    public: bool = False
    tls: bool = False


@dataclass(frozen=True)
class Queue:
    """A queue as the application would declare it."""

    name: str
    exchange: str = ""
    exchange_type: str = "direct"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def quorum(self) -> bool:
        return self.arguments.get("x-queue-type") == "quorum"

    @property
    def broadcast(self) -> bool:
        """Whether each worker has a queue of its own behind this name, so that all get every message."""
        return self.exchange_type == "fanout"


@dataclass(frozen=True)
class Parameter:
    """A parameter of a task; `model` names the class of a database's rows that it is annotated with."""

    name: str
    model: str = ""


@dataclass(frozen=True)
class Task:
    """A registered task, with the values that apply: its own, or else the settings'."""

    name: str
    module: str = ""
    file: str = ""
    line: int = 1
    time_limit: float | None = None
    soft_time_limit: float | None = None
    limits_of_its_own: bool = False
    serializer: str = "json"
    acks_late: bool = False
    reject_on_worker_lost: bool = False
    retry_on_worker_lost: bool = False
    idempotent: bool | None = None
    max_retries: int | None = 3
    default_retry_delay: float = 180
    autoretry_for: tuple[str, ...] = ()
    retry_backoff: float = 0
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    retry_countdown: bool = False
    retried_at_once: bool = False
    queue: str | None = None
    queue_problem: str = ""
    priority: int | None = None
    parameters: tuple[Parameter, ...] = ()

    @property
    def place(self) -> Place | None:
        return Place(self.file, self.line) if self.file else None

    @property
    def retries_later(self) -> bool:
        """Whether its own options have it retried after a while."""
        return (
            bool(self.autoretry_for) and self.max_retries != 0 and (self.retry_backoff > 0 or not self.retried_at_once)
        )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Task:
        parameters = tuple(made(Parameter, each) for each in values.get("parameters") or ())
        return made(
            cls, {**values, "autoretry_for": tuple(values.get("autoretry_for") or ()), "parameters": parameters}
        )


@dataclass(frozen=True)
class Entry:
    """An entry of beat's schedule; `period` is the shortest time between two runs, in seconds, where that is known."""

    name: str
    task: str
    period: float | None = None
    expires: bool = False
    queue: str | None = None
    priority: int | None = None


@dataclass(frozen=True)
class Duplicate:
    """A task's name that two functions claim."""

    name: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class App:
    """A loaded application."""

    name: str
    file: str = ""
    package: str = ""
    celery: str = ""
    conf: Mapping[str, Any] = field(default_factory=dict)
    brokers: tuple[Broker, ...] = ()
    backend: str = "disabled"
    #: Nothing is said of a backend; the deployment may, by environment.
    backend_unset: bool = False
    queues: tuple[Queue, ...] = ()
    #: As the application declares them by itself; a deployment may replace them all.
    own_queues: tuple[Queue, ...] = ()
    tasks: tuple[Task, ...] = ()
    schedule: tuple[Entry, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    connections: tuple[tuple[str, Place | None], ...] = ()
    modules: Mapping[str, str] = field(default_factory=dict)
    sentry_sdk: bool = False
    sentry_dsn: bool = False
    import_seconds: float = 0.0

    @property
    def place(self) -> Place | None:
        return Place(self.file) if self.file else None

    @property
    def kind(self) -> str:
        """Of the broker: amqp, redis, or another scheme."""
        scheme = self.brokers[0].scheme.split("+")[0] if self.brokers else "amqp"
        if scheme in ("amqp", "amqps", "pyamqp", "librabbitmq"):
            return "amqp"
        return "redis" if scheme in ("redis", "rediss", "sentinel") else scheme

    @property
    def broadcasts(self) -> list[str]:
        return sorted({queue.name for queue in (*self.queues, *self.own_queues) if queue.broadcast})

    @property
    def transport(self) -> Mapping[str, Any]:
        return self.conf.get("broker_transport_options") or {}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> App:
        def place(given: Mapping[str, Any] | None) -> Place | None:
            return made(Place, given) if given else None

        return made(
            cls,
            {
                **values,
                "brokers": tuple(made(Broker, each) for each in values["brokers"]),
                "queues": tuple(made(Queue, each) for each in values["queues"]),
                "own_queues": tuple(made(Queue, each) for each in values["own_queues"]),
                "tasks": tuple(Task.of(each) for each in values["tasks"]),
                "schedule": tuple(made(Entry, each) for each in values["schedule"]),
                "duplicates": tuple(
                    Duplicate(each["name"], tuple(made(Place, at) for at in each["places"]))
                    for each in values["duplicates"]
                ),
                "routes": tuple((pattern, queue) for pattern, queue in values["routes"]),
                "connections": tuple((to, place(at)) for to, at in values["connections"]),
            },
        )


@dataclass(frozen=True)
class Failure:
    """An application that could not be loaded."""

    sentence: str
    place: Place | None = None
    hangs: bool = False
    #: It was loaded, and then could not be looked at.
    unclear: bool = False


# --- the deployment -------------------------------------------------------------------------------------------------


class PlanProblem(ValueError):
    """A plan that cannot be read; the text is a sentence."""


@dataclass(frozen=True)
class Worker:
    """One kind of worker."""

    name: str
    queues: tuple[str, ...]
    pool: str = "prefork"
    soft_time_limit: float | None = None
    time_limit: float | None = None
    timeout_stop: float | None = None
    prefetch_multiplier: int = 1
    delivery: str = "at_least_once"
    autoscale: Any = None

    @property
    def heeds_limits(self) -> bool:
        return self.pool == "prefork"


def _number(value: Any, what: str) -> Any:
    """A number, or nothing."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise PlanProblem(f"the plan's {what} that is {value!r}; write a number, without quotes")
    return value


@dataclass(frozen=True)
class Plan:
    """What will run the application: all workers of all hosts."""

    workers: tuple[Worker, ...] = ()
    consumer_timeout: float | None = None
    visibility_renewed: bool = False  # workers tell Redis, again and again, what they still hold
    celerys_names_only: bool = False  # nobody may use others on the broker
    quorum_queues: bool = False  # whatever the application declares
    nodes: tuple[str, ...] = ()
    beats: int | None = None
    sentry: bool | None = None

    def consumers(self, queue: str | None) -> list[Worker]:
        """The workers that take from a queue."""
        return [worker for worker in self.workers if queue in worker.queues]

    @property
    def queues(self) -> list[str]:
        return sorted({queue for worker in self.workers for queue in worker.queues})

    @classmethod
    def of(cls, values: Any) -> Plan:
        """Read a plan; the one of celeryops.stack, or one written by hand, with as much as is known."""
        if not isinstance(values, Mapping) or not isinstance(values.get("workers"), Mapping):
            raise PlanProblem(
                "the plan has no workers; write them as {'workers': {'default': {'queues': ['default']}}}"
            )
        workers = []
        for name, spec in values["workers"].items():
            if not isinstance(spec, Mapping):
                raise PlanProblem(f"the plan's worker {name!r} is no mapping; write its queues, pool and limits")
            queues = spec.get("queues") or [name]
            if not isinstance(queues, (list, tuple)):
                raise PlanProblem(f"the plan's worker {name!r} has queues that are no list; write it like ['default']")
            for key in ("soft_time_limit", "time_limit", "timeout_stop", "prefetch_multiplier"):
                _number(spec.get(key), f"worker {name!r} has a {key}")
            workers.append(made(Worker, {**spec, "name": str(name), "queues": tuple(map(str, queues))}))
        broker = values.get("broker") or {}
        if not isinstance(broker, Mapping):
            raise PlanProblem("the plan's broker is no mapping; write it like {'consumer_timeout': 1800000}")
        timeout = _number(broker.get("consumer_timeout"), "broker has a consumer_timeout")
        beats = _number(values.get("beats"), "beats have a count")
        nodes = values.get("nodes") or ()
        if not isinstance(nodes, (list, tuple)):
            raise PlanProblem("the plan's nodes are no list; write them like ['default@host1']")
        return cls(
            workers=tuple(workers),
            consumer_timeout=timeout / 1000 if timeout else None,
            visibility_renewed=bool(broker.get("visibility_renewed")),
            celerys_names_only=bool(broker.get("celerys_names_only")),
            quorum_queues=bool(broker.get("quorum_queues")),
            nodes=tuple(map(str, nodes)),
            beats=None if beats is None else int(beats),
            sentry=values.get("sentry"),
        )


# --- the broker -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Live:
    """What the broker said, or why it said nothing."""

    problem: str = ""
    product: str = ""
    version: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    maxmemory: int | None = None
    eviction: str | None = None
    aof: bool | None = None
    snapshots: bool | None = None

    @property
    def major(self) -> int | None:
        head = self.version.partition(".")[0]
        return int(head) if head.isdigit() else None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Live:
        lists = {name: tuple(values.get(name) or ()) for name in ("missing", "unclear")}
        return made(cls, {**values, **lists})


def names(things: Iterable[str], most: int = 3) -> str:
    """Some names, for a sentence."""
    listed = sorted(set(things))
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
