# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof of life for systemd's watchdog, given by the main thread only, and with it the status.

Where the main thread waits lawfully the ping comes from there: the event loop's timer, the blocking loop of
transports without one, kombu's retry callback while the broker is away, and beat's tick. A thread of its own would
go on pinging while the main thread hangs. Only a warm stop has one, which ends in time (see ``warmstop``).
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from celeryops_runtime.guard import harmless
from celeryops_runtime.notify import Notifier
from celeryops_runtime.status import Report

#: Pings per watchdog period, and seconds between two of them where nobody watches.
_RATE = 3
_UNWATCHED = 20.0
#: Longest pause in seconds between two attempts to reach the broker (kombu's own 30 make recovery slow).
_RETRY_MAX = 5
#: How long a unit that still waits for its first broker asks for more time, in seconds; renewed at each attempt.
_EXTENSION = 30


def extension(seconds: float) -> str:
    """Ask systemd for this much time in the present state; it never shortens the unit's own time-out."""
    return f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}"


class Watchdog:
    """What the main thread tells systemd while it runs."""

    def __init__(self, notifier: Notifier, report: Report | None = None) -> None:
        self.notifier = notifier
        self.report = report or Report()
        self.ready = False
        self._last = 0.0

    @property
    def interval(self) -> float:
        """Seconds between two pings."""
        return self.notifier.watchdog / _RATE if self.notifier.watchdog else _UNWATCHED

    def tell(self, *fields: str) -> None:
        """Send these fields, and how the service is."""
        self._last = time.monotonic()
        harmless(self.report.refresh)()
        self.notifier.send(*fields, f"STATUS={self.report.line}")

    @harmless
    def ping(self) -> None:
        """The main thread is alive. May be called as often as one likes; says nothing once a stop began."""
        if self.report.status.state == "stopping":
            return
        if time.monotonic() - self._last >= self.interval / 2:
            self.tell("WATCHDOG=1")

    @harmless
    def working(self, state: str, doing: str) -> None:
        """The service does its work (again) now."""
        self.report.enter(state, doing)
        self.tell("WATCHDOG=1", *([] if self.ready else ["READY=1"]))
        self.ready = True

    @harmless
    def consuming(self, queues: Iterable[str]) -> None:
        """The worker consumes from these queues (again)."""
        self.report.status.queues = sorted(queues)
        self.working("consuming", "consuming " + ", ".join(self.report.status.queues))

    @harmless
    def waiting(self, broker: str) -> None:
        """The main thread waits for the broker."""
        self.report.enter("waiting", f"waiting for the broker {broker}")
        self.tell("WATCHDOG=1", *([] if self.ready else [extension(_EXTENSION)]))

    @harmless
    def holding(self, why: str) -> None:
        """The worker takes no task, and its main loop goes on."""
        self.report.enter("waiting", why)
        self.tell("WATCHDOG=1")

    @harmless
    def resume(self, situation: tuple[str, float, str]) -> None:
        """The main thread goes on with what it did before it waited."""
        if self.report.situation != situation:
            self.report.go_back(situation)
            self.tell("WATCHDOG=1")

    @harmless
    def stopping(self) -> None:
        """The service was told to stop."""
        self.report.enter("stopping", "stopping")
        self.tell("STOPPING=1")

    @harmless
    def connected(self, hub: Any) -> None:
        """The event loop runs (again) on a new connection, which took this timer's predecessor with it."""
        self.ping()
        hub.call_repeatedly(self.interval, self.ping)

    def feed(self, connection: Any, beside: bool = False) -> Any:
        """Ping while this kombu connection tries to reach its broker: kombu blocks the main thread then.

        ``beside``: it is not the one by which the service works, so nobody else says that the waiting is over.
        """
        connect = connection._ensure_connection

        def ensure_connection(
            errback: Callable[..., Any] | None = None,
            max_retries: int | None = None,
            interval_start: float = 2,
            interval_step: float = 2,
            interval_max: float = _RETRY_MAX,
            callback: Callable[[], Any] | None = None,
            **options: Any,
        ) -> Any:
            def tick() -> None:
                self.waiting(connection.as_uri())
                if callback:
                    callback()

            situation = self.report.situation
            try:
                return connect(
                    errback, max_retries, interval_start, interval_step, min(interval_max, _RETRY_MAX), tick, **options
                )
            finally:
                if beside:
                    self.resume(situation)

        connection._ensure_connection = ensure_connection
        return connection
