# SPDX-License-Identifier: GPL-3.0-or-later
"""A warm stop: what the event loop did goes on until the last task has finished.

At a stop Celery leaves its event loop and waits for the pool. If nothing else sent AMQP heartbeats and
acknowledgements meanwhile, the broker would close the connection after some 20 seconds, and what finishes later would
run again. Celery's prefork pool does this itself, from a thread, unless the worker had lost a connection before:
``Hub.reset()`` then makes kombu forget its current event loop, and the pool asks for exactly that one. Its threads
pool does not do it at all.

And Celery forgets, when its consumer stops, each task that a child process has but did not yet report as begun. It
would be done and never acknowledged, so run again, and its process would wait 30 seconds for somebody to read that.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import bootsteps
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import _run_ready_callbacks
from celery.concurrency.thread import TaskPool as ThreadPool
from kombu.asynchronous import set_event_loop

from celeryops_runtime.guard import harmless
from celeryops_runtime.watchdog import Watchdog, extension

#: Seconds between two looks at the timers.
_TURN = 0.5
#: Seconds between two signs of life, how much time each asks for, and how many without a task are the last ones.
_RENEWAL, _EXTENSION, _IDLE = 10.0, 30.0, 2


def drain(executor: Any, hub: Any) -> None:
    """Wait for the tasks in this executor, in the main thread, with the event loop's timers and acknowledgements."""
    waiting = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True}, daemon=True)
    waiting.start()
    while waiting.is_alive():
        hub.fire_timers()
        _run_ready_callbacks(hub)
        waiting.join(_TURN)
    _run_ready_callbacks(hub)


def _is_given(job: Any, pool: AsynPool) -> bool:
    return bool(job._write_to) and not job._accepted and job not in pool.outbound_buffer


@contextmanager
def keep_given(pool: Any) -> Iterator[None]:
    """Meanwhile tasks that were given to a child process count as begun: ``AsynPool.flush()`` lets go of the others."""
    inner = getattr(pool, "_pool", None)
    given = [job for job in inner._cache.values() if _is_given(job, inner)] if isinstance(inner, AsynPool) else []
    for job in given:
        job._accepted = True
    yield
    for job in given:
        job._accepted = job._worker_pid is not None  # it may have been reported by now


@harmless
def keep_alive(watchdog: Watchdog, hold: float | None) -> None:
    """While tasks run, tell systemd so; ``hold`` is what a stop might take when the unit was started.

    Its watchdog sleeps from the beginning of a stop to the next ping, which may come by chance: so they go on. And the
    unit's stop time-out may have been lowered since: it must not kill a task that was to have longer. Two looks in a
    row without a task end it (one may be on its way to its process); what hangs then, the watchdog ends.
    """
    began, idle = time.monotonic(), 0
    while idle < _IDLE:
        left = began + hold - time.monotonic() if hold else None
        if left is not None and left <= 0:
            return
        watchdog.tell("WATCHDOG=1", *([] if left is None else [extension(min(_EXTENSION, left))]))
        idle = 0 if watchdog.report.status.running else idle + 1
        time.sleep(min(_RENEWAL, left or _RENEWAL))


def worker_step(watchdog: Watchdog, hold: float | None) -> type:
    """A step of the worker that stops before its pool does."""

    class WarmStop(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        @harmless
        def close(self, parent: Any) -> None:
            """The worker begins to stop, whatever made it."""
            watchdog.stopping()
            if parent.hub:
                set_event_loop(parent.hub)
            threading.Thread(target=keep_alive, args=(watchdog, hold), daemon=True).start()

        def stop(self, parent: Any) -> None:
            """The consumer has stopped, the pool has not."""
            if parent.hub and isinstance(parent.pool, ThreadPool):
                drain(parent.pool.executor, parent.hub)

    return WarmStop
