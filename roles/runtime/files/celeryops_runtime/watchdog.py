# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof of life for systemd's watchdog, given by the main thread only.

Where the main thread waits lawfully the ping comes from there: the event loop's timer, the blocking loop of
transports without one, kombu's retry callback while the broker is away, and beat's tick. A thread of its own would
go on pinging while the main thread hangs.
"""

import time
from collections.abc import Callable
from typing import Any

from celeryops_runtime.guard import harmless
from celeryops_runtime.notify import Notifier

#: Pings per watchdog period.
_RATE = 3
#: Longest pause in seconds between two attempts to reach the broker (kombu's own 30 make recovery slow).
_RETRY_MAX = 5
#: How long a unit that still waits for its first broker asks for more time, in seconds; renewed at each attempt.
_EXTENSION = 30


class Watchdog:
    """What the main thread tells systemd while it runs."""

    def __init__(self, notifier: Notifier) -> None:
        self.notifier = notifier
        self.ready = False
        self.status = ""
        self._last = 0.0

    @property
    def interval(self) -> float | None:
        """Seconds between two pings; None when nobody watches."""
        return self.notifier.watchdog / _RATE if self.notifier.watchdog else None

    def ping(self) -> None:
        """The main thread is alive. May be called as often as one likes."""
        now = time.monotonic()
        if self.interval and now - self._last >= self.interval / 2:
            self._last = now
            self.notifier.send("WATCHDOG=1")

    def set_ready(self, status: str) -> None:
        """The service does its work now."""
        self.ready, self.status, self._last = True, status, time.monotonic()
        self.notifier.send("READY=1", "WATCHDOG=1", f"STATUS={status}")

    def waiting(self, broker: str) -> None:
        """The main thread waits for the broker."""
        fields = ["WATCHDOG=1", f"STATUS=waiting for the broker {broker}"]
        if not self.ready:
            fields.append(f"EXTEND_TIMEOUT_USEC={_EXTENSION * 1_000_000}")
        self._last = time.monotonic()
        self.notifier.send(*fields)

    @harmless
    def connected(self, hub: Any) -> None:
        """The event loop runs (again) on a new connection, which took this timer's predecessor with it."""
        self.ping()
        if self.ready:
            self.notifier.send(f"STATUS={self.status}")
        if self.interval:
            hub.call_repeatedly(self.interval, self.ping)

    def feed(self, connection: Any) -> Any:
        """Ping while this kombu connection tries to reach its broker: kombu blocks the main thread then."""
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
            waiting = harmless(lambda: self.waiting(connection.as_uri()))

            def tick() -> None:
                waiting()
                if callback:
                    callback()

            return connect(
                errback,
                max_retries,
                interval_start,
                interval_step,
                min(interval_max, _RETRY_MAX),
                tick,
                **options,
            )

        connection._ensure_connection = ensure_connection
        return connection
