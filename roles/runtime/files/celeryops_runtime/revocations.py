# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that was revoked stays revoked when its worker restarts, crashes, or has its place taken by its twin.

Celery keeps revocations in a worker's memory. ``--statedb`` writes them to a file only when the worker exits in good
order, one file for each worker: a killed one forgets them, and a twin never has them. Here every worker of a host has
the same file. What it is told to revoke is on the disk before it answers, and what another one was told it learns
before it takes its first task, and within a second after that.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.utils.functional import maybe_list
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.control import Panel

if TYPE_CHECKING:  # it needs SQLite, which a Python that was built by hand may lack
    from celeryops_runtime.revoked import Revoked, Store

logger = get_logger(__name__)

#: In the directory that systemd makes for all workers of the host (``StateDirectory=``).
FILE = "revoked.sqlite3"
#: Seconds for which a revocation is kept where ``CELERY_WORKER_REVOKE_EXPIRES`` is not set: a message may be delayed
#: that long. Celery's own value is three hours.
KEPT = 365 * 86400.0
#: Seconds between two looks at what others wrote.
PAUSE = 0.5
#: The commands of remote control that revoke.
COMMANDS = ("revoke", "terminate", "revoke_by_stamped_headers")
#: What a task's id is kept under; a stamp is kept under its header.
ID = ""


class Revocations:
    """What this worker does with the file; without one, it does as Celery does."""

    def __init__(self, store: "Store | None" = None) -> None:
        self.store = store
        self._looked = 0.0
        self._deaf = False

    def learn(self, pause: float = 0.0) -> None:
        """Take over what other workers of this host were told, unless the last look was a moment ago."""
        if not self.store or time.monotonic() < self._looked + pause:
            return
        self._looked = time.monotonic()
        try:
            news = self.store.news()
        except (OSError, ValueError) as error:
            if not self._deaf:
                logger.error("What other workers were told to revoke cannot be read, so is not known here: %s", error)
            self._deaf = True
            return
        self._deaf = False
        for header, value in news:
            if header != ID:
                stamps = maybe_list(state.revoked_stamps.get(header)) or []
                state.revoked_stamps[header] = stamps if value in stamps else [*stamps, value]
            elif value not in state.revoked:
                state.revoked.add(value)

    def command(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """A command that revokes, and answers only when that is kept."""

        @wraps(inner)
        def revoke(panel: Any, *args: Any, **kwargs: Any) -> Any:
            answer = inner(panel, *args, **kwargs)
            try:
                if self.store:
                    self.store.add(_told(kwargs))
            except (OSError, TypeError) as error:
                logger.error("Revoked until the worker restarts only, as it cannot be kept: %s", error)
                return {"error": f"revoked until the worker restarts only, as it cannot be kept: {error}"}
            return answer

        return revoke


NONE_KEPT = Revocations()


def _told(arguments: Mapping[str, Any]) -> "Iterator[Revoked]":
    """What a command revokes: its tasks, and all stamps so far."""
    for task_id in maybe_list(arguments.get("task_id")) or ():
        yield ID, task_id
    for header, stamps in state.revoked_stamps.items():
        for stamp in maybe_list(stamps):
            yield header, stamp


def kept(environ: Mapping[str, str]) -> float:
    """Seconds for which a revocation counts."""
    return state.REVOKE_EXPIRES if "CELERY_WORKER_REVOKE_EXPIRES" in environ else KEPT


def install(environ: Mapping[str, str]) -> Revocations:
    """Make this worker keep what it is told to revoke, where systemd gave it a place for that."""
    revocations = Revocations()
    if directory := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        state.revoked.expires = kept(environ)
        try:
            from celeryops_runtime.revoked import Store

            revocations.store = Store(Path(directory, FILE), kept(environ), state.REVOKES_MAX)
        except (ImportError, OSError) as error:
            logger.error("What is revoked is forgotten when this worker restarts: %s", error)
    for name in COMMANDS:
        Panel.data[name] = revocations.command(Panel.data[name])
    return revocations
