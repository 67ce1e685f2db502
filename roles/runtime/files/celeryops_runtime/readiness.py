# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd learns when the service really works (and in ``warmstop``, when it stops).

A worker is ready once it consumes (and has said from which queues), beat once its schedule is loaded.
"""

import os
from typing import Any

from celery import _state, bootsteps, signals
from celery.utils.log import get_logger

from celeryops_runtime import delivery, known, outcomes, retry, settings
from celeryops_runtime.guard import harmless
from celeryops_runtime.options import Options
from celeryops_runtime.schedule import Schedule
from celeryops_runtime.watchdog import Watchdog

logger = get_logger(__name__)


def worker_step(watchdog: Watchdog) -> type:
    """A step of the worker that hears of every (re)connect."""

    class Systemd(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Hub",)

        def register_with_event_loop(self, parent: Any, hub: Any) -> None:
            watchdog.connected(hub)

    return Systemd


def _service(watchdog: Watchdog, options: Options) -> tuple[tuple[Any, Any], ...]:
    """Every Celery signal that matters here, with what to do; what fails keeps nothing else from being done."""

    def configure_worker(sender: str, instance: Any, **_: Any) -> None:
        # Only now: Celery's consumer keeps the task tracer that it finds when it is imported, and in pools without
        # child processes Sentry sees nothing of a task whose tracer it could not extend before.
        from celeryops_runtime import consumer, events, masking, revocations, warmstop

        app = instance.app
        settings.install(app, settings.read(os.environ))  # an app with a loader of its own has none yet
        if options.at_most_once:
            delivery.at_most_once(app)
        if options.no_events:
            events.switch_off(app)
        watchdog.report.status.node = sender
        app.steps["worker"].update({worker_step(watchdog), warmstop.worker_step(watchdog, options.stop_timeout)})
        consumer.install(app, watchdog, options, revocations.install(os.environ))
        masking.install(app, os.environ)

    def before_the_pool_starts(instance: Any, **_: Any) -> None:
        if options.at_most_once:
            delivery.enforce(instance.app)
        retry.install(instance.time_limit)
        if names := settings.replaced(instance.app):
            logger.info("The host's settings replace the app's own: %s", ", ".join(names))

    def keep_outcomes(instance: Any, **_: Any) -> None:
        outcomes.install(instance.app, instance.time_limit)

    def look_at_celery(**_: Any) -> None:
        known.tell(logger.error)

    def look_at_ourselves(**_: Any) -> None:
        known.check_replaced(logger.error)

    def beat_ready(sender: Any, **_: Any) -> None:
        scheduler = sender.scheduler
        # It waits for no result. On Redis Celery would subscribe to each, and send nothing while it cannot.
        _state._set_task_join_will_block(True)

        if watchdog.notifier.watchdog:
            scheduler.max_interval = min(scheduler.max_interval, watchdog.interval)
            watchdog.feed(scheduler.connection)
        Schedule(scheduler, watchdog)

    return (
        (signals.celeryd_init, configure_worker),
        (signals.celeryd_after_setup, look_at_celery),
        (signals.celeryd_after_setup, before_the_pool_starts),
        (signals.celeryd_after_setup, keep_outcomes),
        (signals.worker_ready, look_at_ourselves),
        (signals.beat_init, look_at_celery),
        (signals.beat_init, beat_ready),
    )


def connect(watchdog: Watchdog, options: Options) -> None:
    """Listen to Celery."""
    for signal, receiver in _service(watchdog, options):
        signal.connect(harmless(receiver), weak=False)
