# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's Celery settings, laid over whatever the app configures.

The settings are one more mapping in front of the app's own ones, so they win however and whenever the app sets
its own: constructor, ``config_from_object`` (lazy, forced, with a namespace, with old setting names),
``conf.update`` before or after the configuration is read. Only ``task_routes`` is merged: the plan's routes are
asked first, then those that the app had when its configuration was read (see ``celeryops_runtime.routing``).
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from kombu import entity
from kombu.transport import TRANSPORT_ALIASES

from celeryops_runtime import files
from celeryops_runtime.errors import ConfigurationError
from celeryops_runtime.layers import Layer, Shared

_QUEUE_KEYS = {"name", "exchange", "exchange_type", "routing_key", "queue_arguments", "no_declare"}
#: kombu ships its types without having any here.
_kombu: Any = entity
_UID = "celeryops_runtime.settings"
#: kombu's transports that are replaced, see ``celeryops_runtime.redis``; imported where a URL asks for one.
TRANSPORTS = {
    "redis": "celeryops_runtime.redis:Transport",
    "rediss": "celeryops_runtime.redis:Transport",
    "sentinel": "celeryops_runtime.redis:SentinelTransport",
}
#: Celery's result backends that are replaced, see ``celeryops_runtime.results``.
BACKENDS = {
    "redis": "celeryops_runtime.results:RedisBackend",
    "rediss": "celeryops_runtime.results:RedisBackend",
    "sentinel": "celeryops_runtime.results:SentinelBackend",
}
#: Where options name a primary that Sentinel knows, and the URL beside them.
SENTINEL = (("broker_transport_options", "broker_url"), ("result_backend_transport_options", "result_backend"))
#: Settings that name the broker in parts, the last of which overrules a URL.
PARTS = ("broker_host", "broker_port", "broker_user", "broker_password", "broker_vhost", "broker_transport")
#: Attributes of tasks that say when a message is acknowledged, and what becomes of it when its process dies.
ACKNOWLEDGEMENT = {
    "acks_late",
    "acks_on_failure_or_timeout",
    "acks_on_failure",
    "acks_on_timeout",
    "reject_on_worker_lost",
    "retry_on_worker_lost",
}


def queues(declared: Sequence[Mapping[str, Any]], no_declare: bool = False) -> tuple[Any, ...]:
    """kombu's queue objects for the plan's ``task_queues``."""
    for queue in declared:
        if not queue.get("name") or set(queue) - _QUEUE_KEYS:
            raise ConfigurationError(
                f"The settings' task_queues entry {dict(queue)} must have a name and no keys but {sorted(_QUEUE_KEYS)}."
            )
    return tuple(
        _kombu.Queue(
            queue["name"],
            exchange=_kombu.Exchange(queue.get("exchange", ""), type=queue.get("exchange_type", "direct")),
            routing_key=queue.get("routing_key") or queue["name"],
            queue_arguments=queue.get("queue_arguments"),
            no_declare=no_declare or queue.get("no_declare", False),
        )
        for queue in declared
    )


def read(
    environ: Mapping[str, str], settings_file: str | os.PathLike[str] | None = None, sends_only: bool = False
) -> Shared:
    """The shared settings: those of the file, and the URLs of broker and result backend from the environment.

    Who only sends has no right to declare RabbitMQ's queues, which are there before anything is sent.
    """
    path = settings_file or environ.get("CELERYOPS_SETTINGS")
    content = files.read_object(Path(path)) if path else {"settings": {}}
    plain = content.get("settings")
    if not isinstance(plain, dict):
        raise ConfigurationError(f"{path} must hold the Celery settings under the key settings.")
    shared = made(plain, environ, sends_only)
    shared.app = str(content.get("app") or "")
    return shared


def made(plain: Mapping[str, Any], environ: Mapping[str, str], sends_only: bool = False) -> Shared:
    """The same from settings that stand in no file yet."""
    shared = Shared(plain)
    if declared := shared.get("task_queues"):
        on_redis = "broker_native_delayed_delivery_queue_type" not in shared
        shared["task_queues"] = queues(declared, no_declare=sends_only and not on_redis)
    for name, variable in (("broker_url", "CELERY_BROKER_URL"), ("result_backend", "CELERY_RESULT_BACKEND")):
        if value := environ.get(variable):
            shared[name] = value
    if "broker_url" in shared:
        shared.update(dict.fromkeys(("broker_read_url", "broker_write_url"), shared["broker_url"]))
        shared.update(dict.fromkeys(PARTS))
    _log_in(shared, shared)
    return shared


def _log_in(shared: Shared, urls: Mapping[str, Any]) -> None:
    """Where a primary is found through Sentinels: they know the same users and passwords as the Redis they watch."""
    for name, variable in SENTINEL:
        options, url = shared.get(name) or {}, urls.get(variable)
        asking = options.get("sentinel_kwargs", {})
        if "master_name" in options and "username" not in asking and isinstance(url, str):
            first = urlsplit(url.split(";")[0])
            login = {"username": unquote(first.username or ""), "password": unquote(first.password or "")}
            shared[name] = {**options, "sentinel_kwargs": {**asking, **login}}


def _routers(given: Any) -> list[Any]:
    """The routers of a setting, which may be one that is no list."""
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _annotations(given: Any) -> Any:
    """The app's annotations of tasks, without what they say of acknowledgement; what a task says itself counts."""
    if isinstance(given, (list, tuple)):
        return [_annotations(each) for each in given]
    if isinstance(given, Mapping):
        return {
            name: {key: value for key, value in each.items() if key not in ACKNOWLEDGEMENT}
            if isinstance(each, Mapping)
            else each
            for name, each in given.items()
        }
    return given


def _lay_over(app: Any, conf: Any, shared: Shared) -> None:
    """Put the settings in front of all others in this (read) configuration."""
    from celeryops_runtime import applications

    if any(isinstance(each, Layer) for each in conf.maps):
        return
    layer = Layer(shared, partial(applications.is_meant, app, conf, shared.app))
    _log_in(layer, conf)
    ours, theirs = layer.pop("task_routes", None), conf.get("task_routes")
    if ours or theirs:
        layer["task_routes"] = ([ours] if ours else []) + (_routers(theirs) if theirs else [])
    if "task_annotations" not in layer and (annotated := conf.get("task_annotations")):
        layer["task_annotations"] = _annotations(annotated)
    conf.maps.insert(0, layer)


def on_configure(app: Any, shared: Shared) -> None:
    """Lay the settings over this app's configuration each time that is read, before anybody else hears of it."""

    # Here an app is there already; where there is none, Celery must not be imported before the environment is ready.
    from celery.app.backends import BACKEND_ALIASES

    from celeryops_runtime import applications, delays, routing

    def receiver(source: Any, **_: Any) -> None:
        _lay_over(app, source, shared)

    TRANSPORT_ALIASES.update(TRANSPORTS)
    BACKEND_ALIASES.update(BACKENDS)
    delays.round_up()
    applications.keep_urls_apart()
    routing.by_queue()
    signal = app.on_after_configure
    signal.connect(receiver, weak=False, dispatch_uid=_UID)
    # An app's own receiver may send a task at once: it must find these settings in place.
    signal.receivers.sort(key=lambda entry: entry[1] is not receiver)


def install(app: Any, shared: Shared) -> None:
    """Make these settings apply to an app that exists already: to this one, as somebody says who knows."""
    shared.app = ""
    app.on_after_configure.disconnect(dispatch_uid=_UID)
    on_configure(app, shared)
    if app.configured:
        conf = app.conf.finalize()
        conf.maps[:] = [layer for layer in conf.maps if not isinstance(layer, Layer)]
        _lay_over(app, conf, shared)
        _free(app, conf)


def _free(app: Any, conf: Any) -> None:
    """Take the limits of the app's settings off tasks that have them already: their messages would carry them."""
    from celeryops_runtime import applications

    own = applications.own(conf)
    for task in app._tasks.values():
        for limit in ("time_limit", "soft_time_limit"):
            if applications.has(conf, f"task_{limit}") and getattr(task, limit) == own.get(f"task_{limit}"):
                setattr(task, limit, None)
        task._exec_options = None  # Celery's memory of them


def override(app: Any, values: Mapping[str, Any]) -> None:
    """Put these values over the plan's, for an app that has its settings."""
    app.conf.finalize().maps[0].update(values)


def replaced(app: Any) -> list[str]:
    """The names of the settings that the app set to something else and that do not apply."""
    conf = app.conf.finalize()
    layer, rest = conf.maps[0], conf.maps[1:-1]
    if not isinstance(layer, Shared):
        return []
    own = type(conf)({}, rest, conf._keys, conf.prefix)
    return sorted(name for name, value in layer.items() if name in own and own[name] != value and name != "task_routes")
