# SPDX-License-Identifier: GPL-3.0-or-later
"""The application as a whole."""

from __future__ import annotations

from celeryops_audit.facts import Failure
from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check


@check(
    "app-not-importable",
    "The application cannot be imported",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    fix="make `python -c 'import ...'` of it work with nothing but its own requirements, settings and environment",
    why="A worker imports the application and all its task modules before it takes anything. What cannot be imported "
    "restarts for ever and consumes nothing.",
    read=["https://docs.celeryq.dev/en/stable/getting-started/next-steps.html#about-the-app-argument"],
    of_failure=True,
)
def app_not_importable(check: Check, audit: Audit) -> Found:
    if isinstance(audit.app, Failure) and audit.app.unclear:
        yield check.unknown(f"it was imported, but could not be looked at: {audit.app.sentence}", place=audit.app.place)
    elif isinstance(audit.app, Failure) and not audit.app.hangs:
        yield check.found(f"the application cannot be imported: {audit.app.sentence}", place=audit.app.place)


@check(
    "app-hangs-at-import",
    "The import of the application does not end",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    fix="do what waits in a task or in a signal handler (worker_init, worker_process_init), not while a module loads",
    why="An import that waits for a database, a lock or another service makes every start as slow as the slowest of "
    "them, and a worker that is restarted because something is down never comes up.",
    read=["https://docs.celeryq.dev/en/stable/userguide/signals.html#worker-init"],
    of_failure=True,
)
def app_hangs_at_import(check: Check, audit: Audit) -> Found:
    if isinstance(audit.app, Failure) and audit.app.hangs:
        yield check.found(f"the import of the application does not end: {audit.app.sentence}", place=audit.app.place)


@check(
    "app-connects-at-import",
    "The application opens a connection while it is imported",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    fix="connect when it is first needed, or in a handler of worker_process_init",
    why="A worker then starts only while that service answers. And the pool's processes are forked afterwards: they "
    "would share one connection and read each other's answers.",
    read=["https://docs.celeryq.dev/en/stable/userguide/signals.html#worker-process-init"],
)
def app_connects_at_import(check: Check, audit: Audit) -> Found:
    for to, place in audit.loaded.connections:
        yield check.found(f"a connection to {to} is opened while the application is imported", place=place)


@check(
    "task-always-eager",
    "Tasks run inside their caller",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=19,
    fix="set task_always_eager in the tests' settings only",
    why="With `task_always_eager` nothing is ever sent: the web request does the work, without limits, retries on "
    "another host, or a queue. It is meant for tests, and not even for all of them.",
    read=["https://docs.celeryq.dev/en/stable/userguide/testing.html"],
)
def task_always_eager(check: Check, audit: Audit) -> Found:
    if audit.loaded.conf.get("task_always_eager"):
        yield check.found("task_always_eager is on, so tasks run inside whoever calls them", place=audit.loaded.place)


@check(
    "duplicate-task-name",
    "Two functions claim one task name",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    fix="rename one of them, or give it another name=",
    why="The registry keeps one of them, and which one depends on the order of imports: calls of the other run the "
    "wrong function. Celery 5.7 warns, older versions say nothing.",
    read=["https://docs.celeryq.dev/en/stable/userguide/tasks.html#names"],
)
def duplicate_task_name(check: Check, audit: Audit) -> Found:
    for each in audit.loaded.duplicates:
        places = [f"{place.file}:{place.line}" for place in each.places]
        yield check.found(
            f"{len(places)} functions claim the task name {each.name} ({', '.join(places)}), and only one of them runs",
            each.name,
            each.places[-1],
        )


@check(
    "sentry-dsn-without-client",
    "Errors are to be reported, but nothing can report them",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=17,
    fix="add sentry-sdk to the application's requirements",
    why="A DSN is set, so everybody believes that failures reach a human. Without the client's package in the release "
    "not one of them does.",
    read=["https://docs.sentry.io/platforms/python/integrations/celery/"],
)
def sentry_dsn_without_client(check: Check, audit: Audit) -> Found:
    app = audit.loaded
    asked = app.sentry_dsn or (audit.plan.sentry if audit.plan else None)
    if app.sentry_sdk or asked is False:
        return
    if asked:
        yield check.found("a Sentry DSN is set, but sentry-sdk is not installed beside the application")
    else:
        yield check.unknown("sentry-sdk is not installed; whether a DSN will be set is not known here")
