# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a process of its own: loads the application as a worker would, and writes down what it is.

    python -m celeryops_audit.child APP FD SECONDS live|offline

Lines of JSON go to the file descriptor: first of the application (or why it could not be loaded), then, when asked, of
the broker. The application may print, exit, crash or hang: the parent judges by what arrives.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import inspect
import ipaddress
import json
import os
import re
import resource
import sys
import sysconfig
import time
import traceback
import typing
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

#: Settings that checks look at; the others stay where they are.
SETTINGS = (
    "accept_content", "beat_scheduler", "broker_heartbeat", "control_exchange", "event_exchange", "event_queue_prefix",
    "redis_socket_timeout", "result_accept_content", "result_expires", "result_serializer", "task_acks_late",
    "task_always_eager", "task_create_missing_queues", "task_default_priority", "task_default_queue", "task_serializer",
    "task_soft_time_limit", "task_time_limit", "worker_autoscaler", "worker_direct",
)  # fmt: skip
TRANSPORT = ("confirm_publish", "read_timeout", "write_timeout", "socket_timeout", "visibility_timeout")

#: Classes whose instances are rows of a database, or a query for such rows.
MODELS = {
    ("django.db.models.base", "Model"),
    ("django.db.models.query", "QuerySet"),
    ("sqlalchemy.orm.decl_api", "DeclarativeBase"),
    ("peewee", "Model"),
    ("mongoengine.base.document", "BaseDocument"),
    ("tortoise.models", "Model"),
}
LIBRARIES = tuple(
    {os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|KEY|DSN|CREDENTIAL|URL", re.IGNORECASE)
#: As drivers of databases print how they connect: password=..., 'passwd': '...'.
_NAMED_SECRET = re.compile(r"((?:password|passwd|pwd|secret|token|api_?key)['\"]?\s*[=:]\s*)[^\s,;)}]+", re.IGNORECASE)


def without_secrets(text: str, environ: Mapping[str, str] | None = None) -> str:
    """A text that may be shown: passwords of URLs and values of variables that sound secret are left out."""
    text = re.sub(r"(\w://[^\s:/@]*):\S*@", r"\1:***@", text)
    text = _NAMED_SECRET.sub(r"\1***", text)
    for name, value in (os.environ if environ is None else environ).items():
        if len(value) >= 8 and _SECRET_NAME.search(name) and not value.startswith("/"):
            text = text.replace(value, "***")
    return text


def is_library(file: str, package: str = "") -> bool:
    """Whether a file belongs to Python, to an installed package (but the one named), or to this one."""
    for folder in ("site-packages", "dist-packages"):
        _before, found, inner = file.rpartition(f"{os.sep}{folder}{os.sep}")
        if found:
            return not package or inner.partition(os.sep)[0] not in (package, f"{package}.py")
    return file.startswith(("<", *LIBRARIES, os.path.dirname(os.path.abspath(__file__)) + os.sep))


def place_of(frames: Iterable[traceback.FrameSummary], package: str) -> dict[str, Any] | None:
    """The innermost frame that is the application's own."""
    own = [frame for frame in frames if not is_library(frame.filename, package)]
    return {"file": own[-1].filename, "line": own[-1].lineno or 1} if own else None


class Connections:
    """Who connects while the application is imported."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.seen: dict[str, dict[str, Any] | None] = {}
        self.watching = True
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.connect" or not self.watching:
            return
        address = arguments[1]
        to = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
        if to not in self.seen:
            self.seen[to] = place_of(traceback.extract_stack(), self.package)


class Definitions:
    """Which functions claim which name; the registry keeps only one of them."""

    def __init__(self, celery: type) -> None:
        self.places: dict[tuple[int, str], dict[tuple[str, int], None]] = {}
        from_function, register = celery._task_from_fun, celery.register_task  # type: ignore[attr-defined]

        def hear_function(app: Any, fun: Any, name: str | None = None, **options: Any) -> Any:
            task = from_function(app, fun, name=name, **options)
            self._add(app, name or task.name, innermost(fun))
            return task

        def hear_class(app: Any, task: Any, **options: Any) -> Any:
            task = register(app, task, **options)
            self._add(app, task.name, type(task))
            return task

        celery._task_from_fun, celery.register_task = hear_function, hear_class  # type: ignore[attr-defined]

    def _add(self, app: Any, name: str, thing: Any) -> None:
        if file_and_line := located(thing):
            self.places.setdefault((id(app), name), {})[file_and_line] = None

    def duplicates(self, app: Any) -> list[dict[str, Any]]:
        return [
            {"name": name, "places": [{"file": file, "line": line} for file, line in places]}
            for (owner, name), places in self.places.items()
            # An application may have a reason to replace one of Celery's own.
            if owner == id(app) and len(places) > 1 and not name.startswith("celery.")
        ]


def located(thing: Any) -> tuple[str, int] | None:
    """Where a function or a class is written."""
    if inspect.isclass(thing):
        try:
            return inspect.getsourcefile(thing) or "", inspect.getsourcelines(thing)[1]
        except (OSError, TypeError):
            return None
    code = getattr(inspect.unwrap(thing), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else None


def innermost(function: Any) -> Any:
    """The function that was written as a task, also below decorators that do not say what they wrap.

    Such a decorator gives every function its own name, and so one name to all tasks.
    """
    for _level in range(20):
        function = inspect.unwrap(function)
        cells = getattr(function, "__closure__", None) or ()
        inner = [cell.cell_contents for cell in cells if _is_function(cell)]
        if len(inner) != 1 or "<locals>" not in function.__qualname__:
            break
        function = inner[0]
    return function


def _is_function(cell: Any) -> bool:
    try:
        return inspect.isfunction(cell.cell_contents)
    except ValueError:  # it has no value yet
        return False


def run_of(task: Any) -> Any:
    """The function of a task, below what Celery wraps around it."""
    return inspect.unwrap(getattr(task, "_orig_run", None) or task.run)


# --- one part of the application each -------------------------------------------------------------------------------


def broker(url: str, ssl: bool, certificate: bool = False) -> dict[str, Any]:
    """A URL without its password."""
    parts = urlsplit(url if "://" in url else f"{url}://")
    try:
        host, user, password = parts.hostname or "", parts.username or "", parts.password or ""
    except ValueError:
        host, user, password = "", "", ""
    scheme = parts.scheme.lower()
    amqp = scheme in ("amqp", "amqps", "pyamqp", "librabbitmq")
    address = None
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
    local = host in ("", "localhost") or scheme.endswith("+socket")
    return {
        "scheme": scheme,
        "host": host,
        "user": user,
        # What Celery fills in where a URL names nobody is guest, too.
        "default_credentials": amqp
        and not certificate
        and (user or "guest") == "guest"
        and (password or "guest") == "guest",
        "loopback": local or bool(address and address.is_loopback),
        "public": bool(address and address.is_global),
        "tls": ssl or scheme in ("amqps", "rediss", "rediss+sentinel"),
    }


def brokers(app: Any) -> list[dict[str, Any]]:
    conf = app.conf
    urls: list[str] = []
    for given in (conf.broker_url, conf.broker_read_url, conf.broker_write_url):
        for url in [given] if isinstance(given, str) else given or []:
            urls += [part for part in str(url).split(";") if part and part not in urls]
    certificate = str(conf.broker_login_method).upper() == "EXTERNAL"
    return [broker(url, bool(conf.broker_use_ssl), certificate) for url in urls or ["amqp://"]]


def queue_name(given: Any) -> str:
    """The name of a queue, or its text; a broadcast's is made up anew each time, and known by its alias."""
    name = getattr(given, "name", given)
    broadcast = getattr(getattr(given, "exchange", None), "type", None) == "fanout"
    return str((given.alias or given.exchange.name or name) if broadcast else name)


def own(conf: Any) -> Any:
    """What the application says itself, below the settings of a deployment that celeryops_runtime lays over it."""
    runtime = sys.modules.get("celeryops_runtime.applications")
    return runtime.own(conf.finalize()) if runtime else conf


def own_queues(app: Any) -> list[dict[str, Any]]:
    """The queues that the application declares, used or not."""
    return [queue(each) for each in app.amqp.Queues(own(app.conf).get("task_queues") or {}, False).values()]


def queue(given: Any) -> dict[str, Any]:
    return {
        "name": queue_name(given),
        "exchange": given.exchange.name if given.exchange else "",
        "exchange_type": given.exchange.type if given.exchange else "direct",
        "arguments": {key: str(value) for key, value in (given.queue_arguments or {}).items()},
    }


def destination(app: Any, task: Any) -> tuple[str | None, str, int | None]:
    """The queue that a task goes to, why that cannot be told, and the priority with which it goes there."""
    options = {name: value for name in ("queue", "exchange", "routing_key") if (value := getattr(task, name, None))}
    try:
        found = app.amqp.router.route(dict(options), task.name, (), {}, task)
    except Exception as problem:  # of a router that the application brings
        return None, without_secrets(f"{type(problem).__name__}: {problem}"), None
    target, priority = found.get("queue"), task.priority if task.priority is not None else found.get("priority")
    return (queue_name(target), "", priority) if target is not None else (None, "it has an exchange of its own", None)


def model_of(annotation: Any) -> str:
    """The name of the model among what a parameter is annotated with."""
    for inner in typing.get_args(annotation):
        if found := model_of(inner):
            return found
    if not inspect.isclass(annotation):
        return ""
    is_model = hasattr(annotation, "__mapper__") or any(
        (base.__module__, base.__qualname__) in MODELS for base in annotation.__mro__
    )
    return f"{annotation.__module__}.{annotation.__qualname__}" if is_model else ""


def parameters(task: Any) -> list[dict[str, str]]:
    function = run_of(task)
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be evaluated names nothing that could be looked at
        hints = {}
    return [{"name": name, "model": model_of(hint)} for name, hint in hints.items() if name != "return"]


def number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def retry_limit(each: Any, retry_kwargs: Mapping[str, Any]) -> int | None:
    """How often it is retried; what automatic retries are called with comes first."""
    limit = retry_kwargs.get("max_retries") if getattr(each, "autoretry_for", None) else None
    limit = each.max_retries if limit is None else limit
    return None if limit is None or limit == float("inf") else int(limit)


def task(app: Any, each: Any) -> dict[str, Any]:
    conf = app.conf
    target, problem, priority = destination(app, each)
    file, line = located(run_of(each)) or ("", 1)
    retry_kwargs = getattr(each, "retry_kwargs", None) or {}
    idempotent = getattr(each, "idempotent", None)
    return {
        "name": each.name,
        "module": type(each).__module__,
        "file": file,
        "line": line,
        "time_limit": number(each.time_limit),
        "soft_time_limit": number(each.soft_time_limit),
        "limits_of_its_own": (each.time_limit, each.soft_time_limit)
        != (conf.task_time_limit, conf.task_soft_time_limit),
        "serializer": str(each.serializer),
        "acks_late": bool(each.acks_late),
        "reject_on_worker_lost": bool(each.reject_on_worker_lost),
        "retry_on_worker_lost": bool(getattr(each, "retry_on_worker_lost", False)),
        "idempotent": None if idempotent is None else bool(idempotent),
        "max_retries": retry_limit(each, retry_kwargs),
        "default_retry_delay": number(each.default_retry_delay) or 0,
        "autoretry_for": [
            f"{kind.__module__}.{kind.__qualname__}" for kind in getattr(each, "autoretry_for", None) or ()
        ],
        "retry_backoff": float(getattr(each, "retry_backoff", 0) or 0),
        "retry_backoff_max": float(getattr(each, "retry_backoff_max", 600) or 600),
        "retry_jitter": bool(getattr(each, "retry_jitter", True)),
        "retry_countdown": "countdown" in retry_kwargs,
        "retried_at_once": retry_kwargs.get("countdown", each.default_retry_delay) == 0,
        "queue": target,
        "queue_problem": problem,
        "priority": priority,
        "parameters": parameters(each),
    }


def is_celerys(each: Any) -> bool:
    return str(each.name).startswith("celery.") and type(each).__module__.startswith("celery.")


def gaps(times: list[int], whole: int) -> int:
    """The shortest time from one to the next, around the clock."""
    return min((b - a for a, b in zip(times, [*times[1:], times[0] + whole], strict=True)), default=whole)


def period(schedule: Any) -> float | None:
    """Seconds that lie at least between two runs."""
    from celery.schedules import crontab
    from celery.schedules import schedule as interval

    if isinstance(schedule, crontab):
        minutes = [hour * 60 + minute for hour in sorted(schedule.hour) for minute in sorted(schedule.minute)]
        return 60.0 * gaps(minutes, 24 * 60)
    if isinstance(schedule, interval):
        return float(schedule.run_every.total_seconds())
    return None


def schedule(app: Any) -> list[dict[str, Any]]:
    from celery.schedules import maybe_schedule

    found = []
    for name, entry in (app.conf.beat_schedule or {}).items():
        given = entry if isinstance(entry, Mapping) else vars(entry)
        options = given.get("options") or {}
        target = options.get("queue") or routed(app, given.get("task"))
        found.append(
            {
                "name": str(name),
                "task": str(given.get("task")),
                "period": period(maybe_schedule(given.get("schedule"))),
                "expires": options.get("expires") is not None,
                "queue": queue_name(target) if target else None,
                "priority": options.get("priority"),
            }
        )
    return found


def routed(app: Any, name: Any) -> Any:
    """The queue that a route leads a task of this name to; nothing where it goes to the default one."""
    try:
        found = app.amqp.router.route({}, str(name)).get("queue")
    except Exception:  # of a router that the application brings, or of a queue that is not declared
        return None
    return found if queue_name(found) != app.conf.task_default_queue else None


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """Pattern and queue, of the routes that are written down."""

    def pairs(given: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(given, Mapping):
            yield from given.items()
        elif isinstance(given, (list, tuple)):
            for each in given:
                if (
                    isinstance(each, (list, tuple))
                    and len(each) == 2
                    and not isinstance(each[0], (list, tuple, Mapping))
                ):
                    yield each[0], each[1]
                else:
                    yield from pairs(each)

    for pattern, route in pairs(app.conf.task_routes):
        target = route.get("queue") if isinstance(route, Mapping) else route
        if target and not callable(target):
            yield str(getattr(pattern, "pattern", pattern)), queue_name(target)


def unknown_timezone(app: Any) -> str | None:
    """The name of a time zone that is none; nothing where this machine knows no zones at all."""
    name = app.conf.timezone
    known = zoneinfo.available_timezones() if isinstance(name, str) else set()
    return str(name) if known and name not in known else None


def own_modules() -> dict[str, str]:
    """Every loaded module that is written in Python, and its file."""
    return {
        name: file
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and file.endswith(".py")
    }


def describe(app: Any, path: str, definitions: Definitions, connections: Connections, seconds: float) -> dict[str, Any]:
    """The application, for `facts.App.of`."""
    import celery
    from celery.backends.base import DisabledBackend

    conf = app.conf
    settings = {name: conf.get(name) for name in SETTINGS}
    settings["result_expires"] = seconds_of(settings["result_expires"])
    for name in ("accept_content", "result_accept_content"):
        settings[name] = sorted(map(str, settings[name])) if settings[name] is not None else None
    settings["task_queue_max_priority"] = own(conf).get("task_queue_max_priority")
    settings["unknown_timezone"] = unknown_timezone(app)
    transport = conf.broker_transport_options or {}
    settings["broker_transport_options"] = {name: transport[name] for name in TRANSPORT if name in transport}
    declared = [queue(each) for each in app.amqp.queues.values()]
    listed = sorted(app.tasks.values(), key=lambda each: str(each.name))
    backend = app.backend
    return {
        "name": str(app.main or ""),
        "file": located_app(app, path),
        "package": package_of(path),
        "celery": celery.__version__,
        "conf": {name: plain(value) for name, value in settings.items()},
        "brokers": brokers(app),
        "backend": "disabled" if isinstance(backend, DisabledBackend) else type(backend).__module__.split(".")[-1],
        "backend_unset": not conf.result_backend,
        "queues": declared,
        "own_queues": own_queues(app),
        "tasks": [task(app, each) for each in listed if not is_celerys(each)],
        "schedule": schedule(app),
        "duplicates": definitions.duplicates(app),
        "routes": list(routes(app)),
        "connections": list(connections.seen.items()),
        "modules": own_modules(),
        "sentry_sdk": found("sentry_sdk") or found("raven"),
        "sentry_dsn": bool(os.environ.get("SENTRY_DSN")),
        "import_seconds": seconds,
    }


def found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def located_app(app: Any, path: str) -> str:
    """The file in which the application is made."""
    name = path.partition(":")[0]
    for candidate in (f"{name}.celery", name, name.rpartition(".")[0]):
        module = sys.modules.get(candidate)
        if module and any(value is app for value in list(vars(module).values())):
            return getattr(module, "__file__", None) or ""
    return ""


def seconds_of(value: Any) -> Any:
    return value.total_seconds() if hasattr(value, "total_seconds") else value


def plain(value: Any) -> Any:
    """A setting as JSON can carry it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    return str(value)


# --- the whole ------------------------------------------------------------------------------------------------------


def package_of(path: str) -> str:
    """The application's topmost package, or module."""
    return path.replace(":", ".").partition(".")[0]


def load(path: str) -> tuple[Any, Definitions, Connections, float]:
    """Load an application and its tasks, in the way of a worker."""
    from celery import Celery
    from celery.app.utils import find_app

    definitions, connections = Definitions(Celery), Connections(package_of(path))
    begin = time.monotonic()
    app = find_app(path)
    if not isinstance(app, Celery):
        raise TypeError(f"it is a {type(app).__name__}, not a Celery application")
    app.loader.import_default_modules()
    app.finalize()
    # Whatever of it is made at first use, and fails then.
    _used = app.conf.broker_url, app.amqp.queues, app.backend
    connections.watching = False
    return app, definitions, connections, time.monotonic() - begin


def facts(path: str) -> tuple[dict[str, Any], Any]:
    """What is to be written of the application, and the application itself where it could be loaded."""
    try:
        app, definitions, connections, seconds = load(path)
    except BaseException as problem:  # also SystemExit and KeyboardInterrupt, which a module may raise
        at = place_of(traceback.extract_tb(problem.__traceback__), package_of(path))
        if isinstance(problem, SyntaxError) and problem.filename:
            at = {"file": problem.filename, "line": problem.lineno or 1}
        said = without_secrets(" ".join(str(problem).split()))[:500]
        return {"failure": {"sentence": f"{type(problem).__name__}: {said}", "place": at}}, None
    try:
        return {"app": describe(app, path, definitions, connections, seconds)}, app
    except Exception as problem:  # it holds something that was not foreseen here, which may be right all the same
        at = place_of(traceback.extract_tb(problem.__traceback__), package_of(path))
        said = without_secrets(f"{type(problem).__name__}: {problem}")[:500]
        return {"failure": {"sentence": said, "place": at, "unclear": True}}, None


def main() -> None:
    """Write what is known, and end without whatever the application has left to do at exit."""
    path, descriptor, limit, mode = sys.argv[1:]
    sys.argv[1:] = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.dump_traceback_later(max(float(limit) - 0.5, 0.5), exit=False)
    if sys.path[0] != os.getcwd():
        sys.path.insert(0, os.getcwd())
    with open(int(descriptor), "w", encoding="utf-8") as out:
        known, app = facts(path)
        print(json.dumps(known), file=out, flush=True)
        if mode == "live" and app is not None:
            from celeryops_audit.live import ask

            print(json.dumps({"live": ask(app)}), file=out, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
