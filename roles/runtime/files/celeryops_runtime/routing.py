# SPDX-License-Identifier: GPL-3.0-or-later
"""Of a route only the queue counts, whoever gives it.

A routing key of its own would lead to the planned exchange, where nothing is bound to that key: the broker confirms
such a message, and it ends among the dead. Keys are given by maps and functions in ``task_routes``, by attributes of a
task, by ``apply_async`` and ``send_task``, by options of beat's entries and rows; Celery's router brings them together.

Who names no queue, but a key, means the queue that the key leads to: the queue of that name (so do retries, which go
where their message came from), or the one that the application's own ``task_queues`` bind to it.
"""

import re
from collections.abc import Iterable
from functools import wraps
from typing import Any

from celery.app.routes import Router

from celeryops_runtime import applications

#: What a route says of the way to a queue, besides the queue's name.
DELIVERY = ("exchange", "exchange_type", "routing_key")
#: What native delayed delivery puts in front of a key: the delay in seconds, a digit for each of its levels.
_DELAY = re.compile(r"^(?:[01]\.){28}")


def matches(pattern: str, key: str) -> bool:
    """Whether a topic exchange leads this key to a queue that is bound by this pattern."""
    words = {"*": r"[^.]+", "#": r".*"}
    regex = r"\.".join(words.get(word, re.escape(word)) for word in pattern.split("."))
    # No word at all is what # stands for, too.
    return bool(re.fullmatch(regex.replace(r".*\.", r"(?:.*\.)?").replace(r"\..*", r"(?:\..*)?"), key))


def _bindings(queue: Any) -> Iterable[Any]:
    return queue.bindings or [queue]


def _of_key(router: Any, options: dict[str, Any]) -> str | None:
    """The name of the queue that exchange and key of a route would lead to."""
    key, exchange = _DELAY.sub("", options.get("routing_key") or ""), options.get("exchange")
    if not key and not exchange:
        return None
    if key in router.queues:
        return key
    declared = router.app.amqp.Queues(applications.own(router.app.conf).get("task_queues") or {}, create_missing=False)
    exchange = getattr(exchange, "name", exchange)
    for queue in declared.values():
        for bound in _bindings(queue):
            there = not exchange or exchange == bound.exchange.name
            if there and queue.name in router.queues and (not key or matches(bound.routing_key or "", key)):
                return str(queue.name)
    return None


def _named(router: Any, route: dict[str, Any]) -> dict[str, Any]:
    """The route with its queue's name only, where it says anything of a queue."""
    rest = {name: value for name, value in route.items() if name not in DELIVERY}
    queue = rest.pop("queue", None) or _of_key(router, route)
    # A queue that is given as an object would bring its own exchange.
    return {**rest, "queue": getattr(queue, "name", queue)} if queue else rest


def by_queue() -> None:
    """Make it so, once in a process, for applications that have the deployment's settings."""
    original = Router.route
    if getattr(original, "by_queue", False):
        return

    @wraps(original)
    def route(self: Any, options: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if not self.app or not applications.has(self.app.conf, "task_queues"):
            return original(self, options, name, *args, **kwargs)
        found = _named(self, original(self, _named(self, options), name, *args, **kwargs))
        return self.expand_destination({"queue": self.app.conf.task_default_queue, **found})

    route.by_queue = True  # type: ignore[attr-defined]
    Router.route = route
