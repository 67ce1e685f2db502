# SPDX-License-Identifier: GPL-3.0-or-later
"""Beat's schedule."""

from __future__ import annotations

import difflib

from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check

STANDARD = ("celery.beat:PersistentScheduler", "celery.beat.PersistentScheduler", "celery.beat:Scheduler")
PERIODIC = "https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html"


@check(
    "schedule-unknown-task",
    "Beat sends a task that does not exist",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    fix="correct the name, or import the task's module (include=, autodiscover_tasks)",
    why="Beat does not look whether a task exists. The worker discards the message with one line in its log, each "
    "time, and what was to be done nightly is never done.",
    read=[PERIODIC],
)
def schedule_unknown_task(check: Check, audit: Audit) -> Found:
    app = audit.loaded
    known = {task.name for task in app.tasks}
    consumed = audit.plan.queues if audit.plan else []
    for entry in app.schedule:
        if entry.task in known or entry.task.startswith("celery."):
            continue
        # In a queue of its own that is not consumed here, it may be another application's task.
        elsewhere = entry.queue is not None and entry.queue not in consumed
        near = difflib.get_close_matches(entry.task, known, n=1, cutoff=0.8)
        sentence = f"the schedule's entry {entry.name!r} names the task {entry.task!r}, which is not registered"
        if elsewhere:
            yield check.unknown(f"{sentence} here; who consumes the queue {entry.queue!r} may know it")
        else:
            also = f" (did you mean {near[0]!r}?)" if near else ""
            yield check.found(f"{sentence}{also}", entry.task, app.place)
    scheduler = str(app.conf.get("beat_scheduler") or STANDARD[0])
    if scheduler not in STANDARD:
        yield check.unknown(f"the schedule is kept by {scheduler}; its entries are not in the application")


@check(
    "schedule-overlaps",
    "A periodic task may pile up",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    fix="give the entry options={'expires': period}, or the task a limit below the period",
    why="An entry that is sent more often than its task may last, and that never expires, piles up whenever workers "
    "are slow or away; then all of it runs at once.",
    read=[PERIODIC, "https://docs.celeryq.dev/en/stable/userguide/calling.html#expiration"],
)
def schedule_overlaps(check: Check, audit: Audit) -> Found:
    tasks = {task.name: task for task in audit.tasks}
    for entry in audit.loaded.schedule:
        task = tasks.get(entry.task)
        if not task or entry.expires or entry.period is None:
            continue
        limit = max((limit or 0 for limit, _worker in audit.hard_limits(task)), default=0)
        if limit > entry.period:
            yield check.found(
                f"the schedule's entry {entry.name!r} sends {task.name} every {entry.period:g} s without expires, but "
                f"it may run {limit:g} s",
                task,
                audit.loaded.place,
            )
        elif not limit:
            yield check.unknown(f"how long {task.name} may run is not known; it is sent every {entry.period:g} s")


@check(
    "unknown-timezone",
    "The time zone does not exist",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    fix="write a name such as Europe/Berlin or UTC",
    why="Celery looks the zone up when it first needs it: beat ends, and so does every call with a countdown.",
    read=["https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html#time-zones"],
)
def unknown_timezone(check: Check, audit: Audit) -> Found:
    if name := audit.loaded.conf.get("unknown_timezone"):
        yield check.found(f"timezone is {name!r}, which is no time zone", place=audit.loaded.place)
