# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens after a failure."""

from __future__ import annotations

import ast

from celeryops_audit import sources
from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check

EVERYTHING = ("builtins.Exception", "builtins.BaseException")
RETRYING = "https://docs.celeryq.dev/en/stable/userguide/tasks.html#retrying"
AUTOMATIC = "https://docs.celeryq.dev/en/stable/userguide/tasks.html#automatic-retry-for-known-exceptions"


@check(
    "retry-unbounded",
    "A task is retried without end",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=7,
    fix="set max_retries to a number",
    why="`max_retries=None` means for ever. A task that cannot succeed any more (a deleted row, a changed interface) "
    "comes back until somebody notices, with all others of its kind.",
    read=["https://docs.celeryq.dev/en/stable/userguide/tasks.html#Task.max_retries"],
)
def retry_unbounded(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        if task.max_retries is not None:
            continue
        body = audit.sources.body(task)
        # Who looks at the number of retries may well have a limit of its own.
        inside = list(ast.walk(body[1])) if body else []
        counts = any(isinstance(node, ast.Attribute) and node.attr == "retries" for node in inside)
        severity = Severity.WARNING if counts else None
        if task.autoretry_for:
            sentence = f"{task.name} has max_retries=None, so it is retried without end"
            yield check.found(sentence, task, severity=severity, decidable=not counts)
        elif body is None:
            yield check.unknown(f"{task.name} has max_retries=None; whether it retries cannot be seen", task)
        elif calls := [each for each in sources.retries(*body) if not _bounded(each)]:
            # So may who compares before: with the time, for example.
            limits = counts or any(map(_measures, inside))
            severity = Severity.WARNING if limits else None
            sentence = f"{task.name} has max_retries=None and retries, so it may do so without end"
            yield check.found(sentence, task, body[0].at(calls[0]), severity, not limits)


def _measures(node: ast.AST) -> bool:
    """Whether something is compared as larger or smaller."""
    larger = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    return isinstance(node, ast.Compare) and any(isinstance(each, larger) for each in node.ops)


def _bounded(call: ast.Call) -> bool:
    """Whether a retry brings a limit along, or may do so."""
    return any(each.arg in (None, "max_retries") for each in call.keywords)


@check(
    "retry-without-backoff",
    "Retries come at a fixed beat",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    practice=10,
    fix="retry_backoff=True (with retry_backoff_max and retry_jitter)",
    why="A service that is down for ten minutes is asked by every failed task every three minutes, all at once. Delays "
    "that double give it the time to come back.",
    read=[AUTOMATIC],
)
def retry_without_backoff(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        if task.autoretry_for and task.max_retries != 0 and not task.retry_backoff:
            yield check.found(f"{task.name} has autoretry_for without retry_backoff", task)


@check(
    "retry-by-hand-without-backoff",
    "self.retry() waits equally long each time",
    severity=Severity.WARNING,
    evidence=Evidence.SOURCE,
    practice=8,
    fix="pass a countdown that grows with self.request.retries and has a random part, or use autoretry_for and "
    "retry_backoff",
    why="As with options: what failed together comes back together, at a fixed beat, on top of a service that is "
    "trying to recover.",
    read=[RETRYING],
)
def retry_by_hand_without_backoff(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        body = audit.sources.body(task)
        for call in sources.retries(*body) if body else ():
            countdown = sources.keyword(call, "countdown")
            if any(each.arg is None for each in call.keywords):
                continue  # **options: may hold one
            seconds = sources.literal(countdown)
            if countdown is None and sources.keyword(call, "eta") is None:
                yield check.found(
                    f"{task.name} retries without a countdown, so always after {task.default_retry_delay:g} s",
                    task,
                    body[0].at(call) if body else None,
                )
            elif seconds:
                yield check.found(
                    f"{task.name} retries always after {seconds:g} s", task, body[0].at(call) if body else None
                )


@check(
    "retry-without-jitter",
    "What failed together comes back together",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    practice=8,
    fix="remove retry_jitter=False; it is on by default",
    why="Without a random part a thousand tasks that failed in one second are retried in one second, each time.",
    read=[AUTOMATIC, "https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/"],
)
def retry_without_jitter(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        if task.autoretry_for and task.retry_backoff and not task.retry_jitter:
            yield check.found(f"{task.name} has retry_backoff, but retry_jitter is off", task)


@check(
    "retry-on-everything",
    "A programming error is retried",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    practice=9,
    fix="name the exceptions that get better by themselves: time-outs, refused connections, 'try again later'",
    why="`autoretry_for=(Exception,)` also repeats KeyError and a refused payment: the error that a human should see "
    "appears only after the last retry. It retries SoftTimeLimitExceeded, too, so a task that is too slow runs "
    "again and again.",
    read=[AUTOMATIC],
)
def retry_on_everything(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        if any(kind in EVERYTHING for kind in task.autoretry_for):
            yield check.found(f"{task.name} retries on every exception", task)
