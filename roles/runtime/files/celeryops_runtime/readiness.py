# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd learns when the service really works, and when it stops.

A worker is ready once it consumes (and has said from which queues), beat once its schedule is loaded.
"""

import os
from typing import Any

from celery import bootsteps, signals
from celery.utils.log import get_logger

from celeryops_runtime import settings
from celeryops_runtime.guard import harmless
from celeryops_runtime.watchdog import Watchdog

logger = get_logger(__name__)


def worker_step(watchdog: Watchdog) -> type:
    """A step of the worker: hears of every (re)connect and of every way to stop."""

    class Systemd(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Hub",)

        def start(self, parent: Any) -> None:
            """Nothing to start."""

        def stop(self, parent: Any) -> None:
            """Nothing to stop."""

        def register_with_event_loop(self, parent: Any, hub: Any) -> None:
            watchdog.connected(hub)

        def close(self, parent: Any) -> None:
            watchdog.notifier.send("STOPPING=1", "STATUS=stopping: waiting for the running tasks")

    return Systemd


def _service(watchdog: Watchdog) -> dict[Any, Any]:
    """Every Celery signal that matters here, with what to do."""

    def configure_worker(instance: Any, **_: Any) -> None:
        # Only now: Celery's consumer keeps the task tracer that it finds when it is imported, and in pools without
        # child processes Sentry sees nothing of a task whose tracer it could not extend before.
        from celeryops_runtime import consumer

        app = instance.app
        settings.install(app, settings.read(os.environ))  # an app with a loader of its own has none yet
        app.steps["worker"].add(worker_step(watchdog))
        consumer.install(app, watchdog)

    def report_settings(instance: Any, **_: Any) -> None:
        if names := settings.replaced(instance.app):
            logger.info("The host's settings replace the app's own: %s", ", ".join(names))

    def worker_ready(sender: Any, **_: Any) -> None:
        watchdog.set_ready("consuming " + ", ".join(sorted(sender.app.amqp.queues.consume_from)))

    def worker_stopping(sig: str, how: str, **_: Any) -> None:
        watchdog.notifier.send("STOPPING=1", f"STATUS={how.lower()} stop after {sig}: waiting for the running tasks")

    def beat_ready(sender: Any, **_: Any) -> None:
        scheduler = sender.scheduler
        if watchdog.interval:
            scheduler.max_interval = min(scheduler.max_interval, watchdog.interval)
            tick = scheduler.tick

            def pinging_tick(*args: Any, **kwargs: Any) -> Any:
                watchdog.ping()
                return tick(*args, **kwargs)

            scheduler.tick = pinging_tick
            watchdog.feed(scheduler.connection)
        watchdog.set_ready(f"scheduling {len(scheduler.schedule)} entries")

    return {
        signals.celeryd_init: configure_worker,
        signals.celeryd_after_setup: report_settings,
        signals.worker_ready: worker_ready,
        signals.worker_shutting_down: worker_stopping,
        signals.beat_init: beat_ready,
    }


def connect(watchdog: Watchdog) -> None:
    """Listen to Celery."""
    for signal, receiver in _service(watchdog).items():
        signal.connect(harmless(receiver), weak=False)
