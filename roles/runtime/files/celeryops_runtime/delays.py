# SPDX-License-Identifier: GPL-3.0-or-later
"""Delays below one second.

With quorum queues Celery hands a delay to the broker in whole seconds, and kombu refuses a delay of none: in 5.7
``apply_async(countdown=0.5)`` and ``retry(countdown=0.5)`` raise ValueError, and a retry that raises is a task that is
given up. Here such a delay is one second.
"""

from collections.abc import Callable

import celery.app.base

AT_LEAST = 1


def round_up() -> None:
    """Make it so, once in a process."""
    original: Callable[[int, str], str] = celery.app.base.calculate_routing_key
    if getattr(original, "rounds_up", False):
        return

    def calculate_routing_key(countdown: int, routing_key: str) -> str:
        return original(max(AT_LEAST, countdown), routing_key)

    calculate_routing_key.rounds_up = True  # type: ignore[attr-defined]
    celery.app.base.calculate_routing_key = calculate_routing_key
