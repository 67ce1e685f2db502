# SPDX-License-Identifier: GPL-3.0-or-later
"""When a task counts as done, and what becomes of it when its worker dies."""

from __future__ import annotations

from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check


@check(
    "acks-late-undeclared",
    "Nobody says that a task may run twice",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    practice=4,
    fix="when it has one effect however often it runs, say so: `idempotent = True` on the task or its base class",
    why="With late acknowledgement a task whose worker dies runs again. That is right for a task that is idempotent, "
    "and charges a customer twice for one that is not. Only its author knows: so let the task say it.",
    read=["https://docs.celeryq.dev/en/stable/faq.html#should-i-use-retry-or-acks-late"],
)
def acks_late_undeclared(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        if audit.late(task) and task.idempotent is None:
            yield check.found(f"{task.name} acknowledges late, so it may run twice, and says nowhere that it may", task)


@check(
    "acks-late-not-idempotent",
    "A task that must not run twice may run twice",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=4,
    fix="make it idempotent; or let it be lost rather than run twice: delivery: at_most_once for its queue's worker, "
    "or acks_late=False",
    why="The task says `idempotent = False`, and is acknowledged late: when its worker dies it runs again.",
    read=["https://docs.celeryq.dev/en/stable/faq.html#should-i-use-retry-or-acks-late"],
)
def acks_late_not_idempotent(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        if audit.late(task) and task.idempotent is False:
            yield check.found(f"{task.name} says that it is not idempotent, but acknowledges late", task)


@check(
    "acks-late-without-worker-lost",
    "Late acknowledgement does not help when the process dies",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    practice=11,
    fix="set task_reject_on_worker_lost (or task_retry_on_worker_lost, from Celery 5.7 on) beside task_acks_late",
    why="When a pool process is killed (out of memory, a crash in a C library) Celery acknowledges its task all the "
    "same, unless it is told not to: the task is lost, which late acknowledgement was to prevent.",
    read=["https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-reject-on-worker-lost"],
)
def acks_late_without_worker_lost(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        if audit.late(task) and not (task.reject_on_worker_lost or task.retry_on_worker_lost):
            yield check.found(f"{task.name} acknowledges late, but is lost when its process is killed", task)
