# SPDX-License-Identifier: GPL-3.0-or-later
"""What this service does at the moment: one line for ``systemctl status``, a file for who looks from outside."""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from celeryops_runtime.counts import Counts

#: In the directory that systemd makes for the unit (``RuntimeDirectory=``).
FILE = "status.json"
#: Seconds between a task's hard limit and the moment when it must be over: killed, and its end handled.
MARGIN = 30.0


@dataclass
class Status:
    """The content of the file, times in seconds since 1970."""

    unit: str
    node: str = ""
    pid: int = field(default_factory=os.getpid)
    queues: list[str] = field(default_factory=list)
    state: str = "starting"
    since: float = 0.0
    running: int = 0
    finished: int = 0
    held: int = 0
    #: When one of the three changed last, and the seconds since then by a clock that nobody sets.
    changed: float = 0.0
    quiet: float = 0.0
    #: Seconds in which a running task must end.
    hold: float | None = None
    at: float = 0.0


class Report:
    """Keeps the status, its line and its file."""

    def __init__(self, unit: str = "", directory: str | None = None, hold: float | None = None) -> None:
        self.status = Status(unit, hold=hold, since=time.time(), changed=time.time())
        self.counts: Callable[[], Counts] | None = None
        #: What else the line says, beside the counts of a worker.
        self.more: Callable[[], str] = str
        self._hold = hold
        self._path = Path(directory, FILE) if directory else None
        self._doing = "starting"
        self._changed = time.monotonic()

    def no_limits(self) -> None:
        """Its tasks may take as long as they like: a thread cannot be stopped."""
        self._hold = self.status.hold = None

    def enter(self, state: str, doing: str) -> None:
        """The service does something else now; who stops does nothing else any more."""
        if self.status.state == "stopping":
            return
        if (self.status.state, self._doing) != (state, doing):
            self.status.state, self.status.since, self._doing = state, time.time(), doing

    def rename(self, doing: str) -> None:
        """The service does the same as before, with something else; who stops or waits does that."""
        if self.status.state not in ("stopping", "waiting"):
            self._doing = doing

    @property
    def situation(self) -> tuple[str, float, str]:
        """What the service does, and since when, to go back to."""
        return self.status.state, self.status.since, self._doing

    def go_back(self, situation: tuple[str, float, str]) -> None:
        """The service does again what it did then, as if nothing had been; who stops does nothing else any more."""
        if self.status.state != "stopping":
            self.status.state, self.status.since, self._doing = situation

    def refresh(self) -> None:
        """Count, and write the file."""
        status = self.status
        status.at = time.time()
        if self.counts:
            counts = self.counts()
            if (counts.running, counts.finished, counts.held) != (status.running, status.finished, status.held):
                status.running, status.finished, status.held = counts.running, counts.finished, counts.held
                status.changed, self._changed = status.at, time.monotonic()
            if self._hold:
                status.hold = max(self._hold, counts.longest_limit + MARGIN if counts.longest_limit else 0)
        status.quiet = round(time.monotonic() - self._changed, 1)
        if self._path:
            # Written beside it and moved: who reads it never sees half of it. During a stop two threads write.
            new = self._path.with_suffix(f".{threading.get_ident()}")
            new.write_text(json.dumps(asdict(status)), encoding="utf-8")
            new.replace(self._path)

    @property
    def line(self) -> str:
        """``consuming critical since 2026-11-23 08:15:02 UTC; 2 running, 153 done``."""
        since = datetime.fromtimestamp(self.status.since, UTC)
        line = f"{self._doing} since {since:%Y-%m-%d %H:%M:%S} UTC"
        if self.counts:
            line += f"; {self.status.running} running, {self.status.finished} done"
        return line + self.more()
