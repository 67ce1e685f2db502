# SPDX-License-Identifier: GPL-3.0-or-later
"""The base class of the project's tasks."""

from celery.contrib.django.task import DjangoTask
from django.db import InterfaceError, OperationalError


class ReliableTask(DjangoTask):
    """A task that is never lost. To inherit from it is a promise: running twice has the effect of running once."""

    abstract = True
    idempotent = True
    acks_late = True
    reject_on_worker_lost = True
    # What a database that is restarted raises; all else fails at once, and a human hears of it.
    autoretry_for = (InterfaceError, OperationalError)
    retry_backoff = 2
    retry_backoff_max = 60
    retry_jitter = True
    max_retries = 5
