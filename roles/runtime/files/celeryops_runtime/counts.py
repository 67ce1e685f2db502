# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tasks a worker runs and has finished.

The numbers are those that Celery's main process keeps anyway, whatever the pool: they cost a task nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Counts:
    """A worker's tasks."""

    running: int = 0
    #: By this process.
    finished: int = 0
    #: Taken from the broker, but not to be started yet: an ETA, or a rate limit.
    held: int = 0
    #: The longest hard limit that a running task was given of its own, in seconds.
    longest_limit: float = 0.0


def _own_limit(request: Any) -> float:
    return float(request.time_limits[0] or request.task.time_limit or 0)


def count(buckets: Mapping[str, Any]) -> Counts:
    """The tasks of this process; ``buckets`` are its consumer's, for tasks with a rate limit."""
    from celery.worker import state

    # Not the set itself: in the threads pool others change it meanwhile.
    active = [request for reference in list(state.active_requests.data) if (request := reference())]
    limited = sum(len(bucket.contents) for bucket in list(buckets.values()) if bucket)
    return Counts(
        running=len(active),
        finished=max(0, state.all_total_count[0] - len(active)),
        held=len(state.scheduled_requests) + limited,
        longest_limit=max(map(_own_limit, active), default=0.0),
    )
