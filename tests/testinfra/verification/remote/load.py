# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends tasks of the shop that need no database and says what became of them. Runs inside the shop's environment."""

import time
import uuid
from typing import Any


def main(data: Any) -> dict[str, Any]:
    """Fill bulk, use critical meanwhile; delay many tasks, send another one behind them; let one fail."""
    from kombu import Producer
    from shop import tasks
    from shop.celery import app

    messages: list[dict[str, str]] = []
    publish = Producer._publish

    def recorded(self: Any, body: Any, *rest: Any) -> Any:
        _priority, content_type, content_encoding, headers, *_more = rest
        if "task" in (headers or {}):
            text = body.decode() if isinstance(body, bytes) else body
            messages.append({"content_type": content_type, "content_encoding": content_encoding, "body": text})
        return publish(self, body, *rest)

    Producer._publish = recorded

    def answered(result: Any) -> float:
        """Seconds after its sending that a task of ping came back."""
        result.get(timeout=data["timeout"])
        return time.monotonic() - sent[result.id]

    sent: dict[str, float] = {}

    def ping(**options: Any) -> Any:
        result = tasks.ping.apply_async(**options)
        sent[result.id] = time.monotonic()
        return result

    failing = tasks.charge_order.delay(f"order-of-nobody-{uuid.uuid4().hex[:12]}")

    backlog = [
        tasks.stubborn_export.delay(f"backlog-{uuid.uuid4().hex[:12]}", data["export_seconds"])
        for _number in range(data["backlog"])
    ]
    urgent = [answered(ping(queue="critical")) for _number in range(data["urgent"])]
    left_when_urgent_was_done = sum(not result.ready() for result in backlog)

    delayed = [ping(queue="default", countdown=data["delay"]) for _number in range(data["delayed"])]
    behind = ping(queue="default")
    behind_seconds = answered(behind)
    delayed_left = sum(not result.ready() for result in delayed)
    inspect = app.control.inspect(destination=data["default_nodes"], timeout=2)
    seen = [*(inspect.scheduled() or {}).values(), *(inspect.reserved() or {}).values()]
    requests = [entry.get("request", entry)["id"] for entries in seen for entry in entries]
    held = len({result.id for result in delayed} & set(requests))
    delayed_seconds = [answered(result) for result in delayed]

    for result in backlog:
        result.get(timeout=data["timeout"])
    try:
        failing.get(timeout=data["timeout"])
        failure = ""
    except Exception as exc:
        failure = type(exc).__name__
    return {
        "messages": messages,
        "urgent_seconds": urgent,
        "left_when_urgent_was_done": left_when_urgent_was_done,
        "behind_seconds": behind_seconds,
        "held": held,
        "delayed_left": delayed_left,
        "delayed_seconds": delayed_seconds,
        "failing": {"id": failing.id, "name": tasks.charge_order.name, "failure": failure},
        "task": {"id": behind.id, "name": tasks.ping.name, "queue": "default"},
    }
