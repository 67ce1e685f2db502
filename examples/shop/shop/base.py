# SPDX-License-Identifier: GPL-3.0-or-later
"""The base classes of the shop's tasks, and exponential backoff by hand."""

import inspect
import random
from typing import Any

import sentry_sdk
from celery import Task
from celery.utils.log import get_task_logger

log = get_task_logger(__name__)


class ReliableTask(Task):
    """A task that is never lost. To inherit from it is a promise: running twice has the effect of running once.

    A late acknowledgement means that a message is delivered again when its worker dies, so a task may run twice or be
    killed halfway. Hence the promise, and hence one transaction per effect (see `shop.store`).
    """

    abstract = True
    idempotent = True  # the promise, said aloud: whoever audits the application looks for it
    acks_late = True
    reject_on_worker_lost = True
    max_retries = 5  # never None: a broken task must come to an end
    soft_time_limit = 45
    time_limit = 60

    def ids(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, str]:
        """The ids among the arguments by parameter name: what this run is about."""
        given = inspect.signature(self.run).bind_partial(*args, **kwargs).arguments
        return {name: str(value) for name, value in given.items() if name.endswith("_id")}

    def before_start(self, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Say what starts, in the log and on every Sentry event of this run (a no-op while Sentry is off)."""
        ids = self.ids(args, kwargs)
        delivery = self.request.delivery_info or {}
        sentry_sdk.set_tags({"task": self.name, "queue": delivery.get("routing_key"), **ids})
        sentry_sdk.set_tag("attempt", self.request.retries + 1)
        log.info("start %s, attempt %d of %d", ids, self.request.retries + 1, self.max_retries + 1)

    def on_retry(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Log why another attempt is needed."""
        log.warning("attempt %d failed, will try again: %r", self.request.retries + 1, exc)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Log the end. A warning: the error with its stack trace is logged by Celery and sent by Sentry already.

        After a hard time limit this runs in the worker's main process, which has no `self.request`: hence the id.
        """
        log.warning("gave up %s[%s]: %r", self.name, task_id, exc)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Log the result."""
        log.info("done: %r", retval)


class PatientTask(ReliableTask):
    """A task that retries by hand: `raise self.retry(exc=exc, countdown=exponential_backoff(self))`."""

    abstract = True
    default_retry_delay = 2  # seconds before the second attempt
    longest_retry_delay = 60  # seconds: where the doubling ends


def exponential_backoff(task: PatientTask) -> float:
    """Seconds to wait before the next attempt: doubled each time, with a random part of up to 30 %.

    The random part keeps a thousand tasks that failed together from coming back together.
    """
    seconds = min(task.default_retry_delay * 2**task.request.retries, task.longest_retry_delay)
    return float(seconds * random.uniform(1, 1.3))
