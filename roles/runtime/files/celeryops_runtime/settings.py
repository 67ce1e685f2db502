# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's Celery settings, laid over whatever the app configures.

The settings are one more mapping in front of the app's own ones, so they win however and whenever the app sets
its own: constructor, ``config_from_object`` (lazy, forced, with a namespace, with old setting names),
``conf.update`` before or after the configuration is read. Only ``task_routes`` is merged: the plan's routes are
asked first, then those that the app had when its configuration was read, each by its queue alone.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from kombu import entity
from kombu.transport import TRANSPORT_ALIASES

from celeryops_runtime import files
from celeryops_runtime.errors import ConfigurationError

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
#: What a route says of the way to a queue, besides the queue's name.
DELIVERY = ("exchange", "exchange_type", "routing_key")


class Shared(dict[str, Any]):
    """The settings in the form Celery takes them; its type marks the mapping among an app's others."""


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
    plain = files.read_object(Path(path)).get("settings") if path else {}
    if not isinstance(plain, dict):
        raise ConfigurationError(f"{path} must hold the Celery settings under the key settings.")
    return made(plain, environ, sends_only)


def made(plain: Mapping[str, Any], environ: Mapping[str, str], sends_only: bool = False) -> Shared:
    """The same from settings that stand in no file yet."""
    shared = Shared(plain)
    if declared := shared.get("task_queues"):
        on_redis = "broker_native_delayed_delivery_queue_type" not in shared
        shared["task_queues"] = queues(declared, no_declare=sends_only and not on_redis)
    for name, variable in (("broker_url", "CELERY_BROKER_URL"), ("result_backend", "CELERY_RESULT_BACKEND")):
        if value := environ.get(variable):
            shared[name] = value
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


def _by_queue(route: Any) -> Any:
    """A route that names its queue goes by that queue's own exchange and key.

    With a key of its own it would reach the planned exchange, where nothing is bound to that key.
    """
    if isinstance(route, Mapping) and "queue" in route:
        return {name: value for name, value in route.items() if name not in DELIVERY}
    return route


def _routes(given: Any) -> list[Any]:
    """The app's routers: Celery takes a map, a function, or a list of maps, functions and lists of pairs."""
    routers: list[Any] = []
    for router in given if isinstance(given, (list, tuple)) else [given]:
        pairs = router.items() if isinstance(router, Mapping) else router
        listed = isinstance(router, (Mapping, list, tuple))
        routers.append([(pattern, _by_queue(route)) for pattern, route in pairs] if listed else router)
    return routers


def _lay_over(conf: Any, shared: Shared) -> None:
    """Put the settings in front of all others in this (read) configuration."""
    if any(isinstance(layer, Shared) for layer in conf.maps):
        return
    layer = Shared(shared)
    _log_in(layer, conf)
    ours, theirs = layer.pop("task_routes", None), conf.get("task_routes")
    if ours or theirs:
        layer["task_routes"] = ([ours] if ours else []) + (_routes(theirs) if theirs else [])
    conf.maps.insert(0, layer)


def on_configure(app: Any, shared: Shared) -> None:
    """Lay the settings over this app's configuration each time that is read, before anybody else hears of it."""

    # Here an app is there already; where there is none, Celery must not be imported before the environment is ready.
    from celery.app.backends import BACKEND_ALIASES

    def receiver(source: Any, **_: Any) -> None:
        _lay_over(source, shared)

    TRANSPORT_ALIASES.update(TRANSPORTS)
    BACKEND_ALIASES.update(BACKENDS)
    signal = app.on_after_configure
    signal.connect(receiver, weak=False, dispatch_uid=_UID)
    # An app's own receiver may send a task at once: it must find these settings in place.
    signal.receivers.sort(key=lambda entry: entry[1] is not receiver)


def install(app: Any, shared: Shared) -> None:
    """Make these settings apply to an app that exists already."""
    on_configure(app, shared)
    if app.configured:
        _lay_over(app.conf, shared)


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
