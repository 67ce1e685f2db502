# SPDX-License-Identifier: GPL-3.0-or-later
"""What beat does, for its status: how many entries it has now, and what it sent last."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from celeryops_runtime.guard import harmless
from celeryops_runtime.watchdog import Watchdog


class Schedule:
    """Follows a scheduler: each of its looks at the schedule is a sign of life, and each message counts."""

    def __init__(self, scheduler: Any, watchdog: Watchdog) -> None:
        self._scheduler, self._watchdog = scheduler, watchdog
        self._entries = len(scheduler.schedule)
        self._sent, self._last = 0, ""
        self._tick: Callable[..., Any] = scheduler.tick
        self._apply: Callable[..., Any] = scheduler.apply_async
        scheduler.tick, scheduler.apply_async = self._ticked, self._applied
        watchdog.report.more = self._more
        self.working()

    def working(self) -> None:
        """It sends what is due (again)."""
        self._watchdog.working("scheduling", self._doing)

    @property
    def _doing(self) -> str:
        return f"scheduling {self._entries} {'entry' if self._entries == 1 else 'entries'}"

    def _more(self) -> str:
        return f"; {self._sent} sent, {self._last}" if self._sent else ""

    def _ticked(self, *args: Any, **kwargs: Any) -> Any:
        self._watchdog.ping()
        pause = self._tick(*args, **kwargs)
        self._look()
        return pause

    @harmless
    def _look(self) -> None:
        # What the tick has just seen: a scheduler may ask a database for its schedule each time.
        seen = getattr(self._scheduler, "old_schedulers", None)
        if seen is not None:
            self._entries = len(seen)
        if self._watchdog.report.status.state == "waiting":
            self.working()
        else:
            self._watchdog.report.rename(self._doing)

    def _applied(self, entry: Any, *args: Any, **kwargs: Any) -> Any:
        result = self._apply(entry, *args, **kwargs)
        self._count(entry)
        return result

    @harmless
    def _count(self, entry: Any) -> None:
        self._sent += 1
        self._last = f"{entry.task} last, at {datetime.fromtimestamp(time.time(), UTC):%Y-%m-%d %H:%M:%S} UTC"
