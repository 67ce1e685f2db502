# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivery at most once, for workers whose tasks must rather be lost than run twice.

Every task that this worker runs is acknowledged when a process or thread of the pool takes it, before its code runs,
also where the task itself asks for late acknowledgement. What fails, outlives its limit or loses its process is not
run again, except where its own code retries it.

What remains: between that moment and the broker's receipt of the acknowledgement lies the main process. When it dies,
or its connection does, in these milliseconds, the broker delivers the message again and the task runs twice. What was
taken from the broker and has not begun is delivered again in any case, and does not count: it never ran.
"""

from typing import Any

from celeryops_runtime import settings

SETTINGS = {"task_acks_late": False, "task_reject_on_worker_lost": False, "task_retry_on_worker_lost": False}
_ATTRIBUTES = ("acks_late", "reject_on_worker_lost", "retry_on_worker_lost")


def at_most_once(app: Any) -> None:
    """Make it the default of this app, in this process and those that it forks."""
    settings.override(app, SETTINGS)


def enforce(app: Any) -> None:
    """Where at most once is the default, make it so for the tasks that say otherwise."""
    for task in app.tasks.values():
        for attribute in _ATTRIBUTES:
            setattr(task, attribute, False)
