# SPDX-License-Identifier: GPL-3.0-or-later
"""A task whose retry, or whose follow-up, cannot be published goes back to its queue.

While RabbitMQ has an alarm (memory, disk) it reads nothing from whoever publishes, and so confirms nothing: the retry
waits. Three faults together lost such a task, as its original was acknowledged and its retry never accepted:

- The soft limit ends the waiting, but kombu then closes the connection politely and waits again, for an answer that the
  broker does not give.
- Celery takes a task whose retry could not be published for one that is to be rejected for good.
- The hard limit kills the process and acknowledges the task.

Here the connection is dropped without a word, the task is rejected so that it is delivered again (which the queue's
delivery limit counts), and this happens in time before the hard limit, also where the soft one has struck before.
Where the broker reads the interrupted publication after all, the task runs once more than needed.
"""

import time
from contextlib import suppress
from functools import partial, wraps
from typing import Any

from celery import current_task, signals
from celery.app.amqp import AMQP
from celery.app.task import Task
from celery.exceptions import Reject
from celery.utils.log import get_logger
from kombu.connection import ConnectionPool

from celeryops_runtime import outcomes
from celeryops_runtime.deadline import SHORTEST, ended_in, over

logger = get_logger(__name__)

_BEGAN = "celeryops_began"


def _drop(pool: Any, connection: Any) -> None:
    """Take a connection that somebody left with an exception out of service, without waiting for the broker."""
    if pool.limit:
        pool._dirty.discard(connection)
    transport = getattr(connection._connection, "_transport", None)
    if sock := getattr(transport, "sock", None):
        with suppress(OSError):
            sock.settimeout(SHORTEST)  # TLS waits for the broker's farewell
    connection.collect()


def _began(task: Any, **_: Any) -> None:
    setattr(task.request, _BEGAN, time.monotonic())


def _left(task: Any, default: float | None) -> float | None:
    """Seconds that this run may publish for; None where no hard limit ends it."""
    began = getattr(task.request, _BEGAN, None)
    until = over(began, task.request.timelimit, task, default) if began else None
    return None if until is None else until - time.monotonic()


def _goes_back(task: Any) -> bool:
    """Whether the broker still has this run's message.

    What is acknowledged already can go nowhere: Celery's way is then the only one, and it records the failure.
    """
    return bool(task and task.acks_late and not task.request.called_directly and not task.request.is_eager)


def install(time_limit: float | None) -> None:
    """Make the tasks of this process, and of those that it forks, go back to their queue.

    Args:
        time_limit: the worker's hard limit in seconds, for tasks without one of their own.
    """
    celerys_retry = Task.retry
    celerys_publish: Any = getattr(AMQP, "_retry_publish", None)  # since Celery 5.7

    @wraps(celerys_retry)
    def retry(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _goes_back(self):
            return celerys_retry(self, *args, **kwargs)
        try:
            with ended_in(_left(self, time_limit)):
                return celerys_retry(self, *args, **kwargs)
        except Reject as exc:
            if exc.requeue or not (isinstance(exc.reason, outcomes.UNPUBLISHED) or outcomes.struck(exc.reason)):
                raise
            raise Reject(exc.reason, requeue=True) from exc

    def publish_follow_up(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish the next step of a chain, or a callback: the task itself has succeeded."""
        task = current_task
        if not _goes_back(task):
            return celerys_publish(self, *args, **kwargs)
        try:
            with ended_in(_left(task, time_limit)):
                return outcomes.follow_up(task, partial(celerys_publish, self, *args, **kwargs))
        except outcomes.UNPUBLISHED as exc:
            logger.warning(
                "Task %s[%s] goes back to its queue: what follows it could not be sent: %r",
                task.name,
                task.request.id,
                exc,
            )
            raise outcomes.give_back(exc) from exc

    Task.retry, ConnectionPool.replace = retry, _drop
    if celerys_publish:
        AMQP._retry_publish = publish_follow_up
    signals.task_prerun.connect(_began, weak=False, dispatch_uid=_BEGAN)
