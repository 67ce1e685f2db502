# SPDX-License-Identifier: GPL-3.0-or-later
"""When a run must be over so that what becomes of its message is still decided by itself, not by the hard limit."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded

#: Seconds before the hard limit in which a rejection reaches the main process, and the shortest attempt at anything.
MARGIN, SHORTEST = 1.0, 0.1
#: Seconds until an interruption that had no effect is repeated: Python ignores it in the callback of a weak reference.
AGAIN = 0.5


def over(began: float, limits: Sequence[float | None] | None, task: Any, default: float | None) -> float | None:
    """The moment by which a run that began then must be over; None where no hard limit ends it.

    Args:
        began: by the clock that is wanted back.
        limits: the hard and the soft one that its message brought.
        task: may have one of its own.
        default: the worker's.
    """
    limit = (limits or (None,))[0] or task.time_limit or default
    return began + limit - MARGIN if limit else None


#: How many blocks of the main thread are to end.
_armed = 0


def _expired(*_: Any) -> None:
    if _armed:  # or it was on its way when the last block ended
        raise SoftTimeLimitExceeded


@contextmanager
def ended_in(seconds: float | None) -> Iterator[None]:
    """Interrupt this block with SoftTimeLimitExceeded then, or when a block around it is to end if that is earlier.

    Only processes of the prefork pool have limits, and they run their tasks in the main thread.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    global _armed
    depth = _armed
    began, before = time.monotonic(), signal.signal(signal.SIGALRM, _expired)
    theirs, interval = signal.getitimer(signal.ITIMER_REAL)
    ours = min(seconds, theirs) if theirs and before is _expired else seconds
    try:
        try:
            _armed = depth + 1
            signal.setitimer(signal.ITIMER_REAL, max(ours, SHORTEST), AGAIN)
            yield
        finally:
            _armed = depth
    finally:  # also where the interruption came just before
        _armed = depth
        left = max(theirs - (time.monotonic() - began), SHORTEST) if theirs else 0
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
