# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery's consumer, for a host: it feeds the watchdog and does not let its own chatter block its main loop."""

from functools import partial
from typing import Any, ClassVar

from celery.concurrency.thread import TaskPool as ThreadPool
from celery.utils.imports import symbol_by_name
from celery.utils.log import get_logger
from celery.worker.consumer.delayed_delivery import DelayedDelivery
from kombu import pools

from celeryops_runtime import delivery, outcomes
from celeryops_runtime.counts import count
from celeryops_runtime.options import Options
from celeryops_runtime.revocations import NONE_KEPT, PAUSE, Revocations
from celeryops_runtime.warmstop import keep_given
from celeryops_runtime.watchdog import Watchdog

logger = get_logger(__name__)

#: Seconds between two looks whether results can be stored, and what other workers were told to revoke.
HEED = 1.0
#: For what the worker itself says (events, heartbeats, replies to remote control): a confirm that a frozen broker
#: never sends would block the main loop. Messages of tasks keep the app's own options, confirms included.
_UNCONFIRMED = {"confirm_publish": False}


def chatter(app: Any) -> dict[str, Any]:
    """The options of a connection that carries no task; nothing where the app asks for no confirms."""
    return {"transport_options": _UNCONFIRMED} if app.conf.broker_transport_options.get("confirm_publish") else {}


def hold(hub: Any, channel: Any, before: Any = None) -> Any:
    """While this worker lives, Redis hands nothing that it has to another.

    What came by the channel before, of a connection that was lost, is another's to do: ``before`` is what held it.
    """
    from celeryops_runtime import redis  # only there is redis-py sure to be

    if before is not None:
        before.cancel()
    return hub.call_repeatedly(channel.visibility_timeout / redis.RATE, redis.still_held(channel))


class OneNodeDelayedDelivery(DelayedDelivery):
    """Declares the delayed delivery through the node this worker is connected to.

    Celery's own step connects to every broker of the list at each (re)connect and consumes nothing meanwhile: one
    dead node costs many seconds. In a cluster exchanges, queues and bindings are everywhere: one node is enough.
    """

    def start(self, c: Any) -> None:
        """Declare it; a failure is logged, and tried again at the next connect."""
        self._validate_configuration(c.app)
        try:
            self._setup_delayed_delivery(c, c.connection.as_uri(include_password=True))
        except Exception as error:
            logger.warning("Delayed delivery could not be set up: %r", error)


def _step(step: Any) -> Any:
    replaced = str(step).endswith(":DelayedDelivery")
    return f"{OneNodeDelayedDelivery.__module__}:{OneNodeDelayedDelivery.__name__}" if replaced else step


def consumer_class(configured: Any, watchdog: Watchdog, options: Options, revocations: Revocations = NONE_KEPT) -> type:
    """The app's consumer class (``worker_consumer``), extended."""
    base: Any = symbol_by_name(configured)

    class Blueprint(base.Blueprint):
        default_steps: ClassVar[list[Any]] = [_step(step) for step in base.Blueprint.default_steps]

    class Consumer(base):
        held: Any = None
        heeding: Any = None
        paused = False

        def ensure_connected(self, conn: Any, beside: bool = False) -> Any:
            watchdog.ping()  # what failed before may have taken long
            return super().ensure_connected(watchdog.feed(conn, beside))

        def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
            conn = self.app.connection_for_write(url=url, heartbeat=heartbeat, **chatter(self.app))
            return self.ensure_connected(conn, beside=True)  # for its events; it consumes by another

        def update_strategies(self) -> None:
            if options.at_most_once:
                delivery.enforce(self.app)  # tasks that came since the pool started, too
            revocations.learn()  # the next step takes the first task
            super().update_strategies()

        def on_ready(self) -> None:
            super().on_ready()
            if self.connection.transport.driver_type == "redis":
                self.held = hold(self.hub, self.task_consumer.channel, self.held)
            watchdog.report.counts = partial(count, self.task_buckets)
            if isinstance(self.pool, ThreadPool):
                watchdog.report.no_limits()
            watchdog.consuming(self.app.amqp.queues.consume_from)
            self.paused = False  # whatever it was before, it consumes now
            if self.hub:
                if self.heeding:
                    self.heeding.cancel()
                self.heeding = self.hub.call_repeatedly(HEED, self.heed)

        def heed(self) -> None:
            """Take notice of what other processes know."""
            revocations.learn(PAUSE)
            self.heed_outage()

        def heed_outage(self) -> None:
            """Take no task whose outcome cannot be stored: it would be done, or held, and only be given back."""
            since = outcomes.OUTAGE.since
            if since and not self.paused:
                self.paused = True
                backend, why = outcomes.place(self.app), outcomes.OUTAGE.why
                logger.error("Results cannot be stored in %s, so no task is taken until they can: %s", backend, why)
                watchdog.holding(f"waiting for the result backend {backend}")
                outcomes.await_end(self.app)
                self.task_consumer.cancel()
            elif self.paused and not since:
                self.paused = False
                logger.warning("Results can be stored again in %s", outcomes.place(self.app))
                self.task_consumer.consume()
                watchdog.consuming(self.app.amqp.queues.consume_from)

        def stop(self) -> None:
            with keep_given(self.pool):
                super().stop()

        def perform_pending_operations(self) -> Any:
            watchdog.ping()  # the loop of transports without an event loop calls this at each turn
            self.heed()
            return super().perform_pending_operations()

    Consumer.Blueprint = Blueprint
    return Consumer


def install(app: Any, watchdog: Watchdog, options: Options, revocations: Revocations = NONE_KEPT) -> None:
    """Make this app's workers use it."""
    app.conf.worker_consumer = consumer_class(app.conf.worker_consumer, watchdog, options, revocations)
    if unconfirmed := chatter(app):
        app.control.mailbox.producer_pool = pools.producers[app.connection_for_write(**unconfirmed)]
