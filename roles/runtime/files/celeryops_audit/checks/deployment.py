# SPDX-License-Identifier: GPL-3.0-or-later
"""What is around the application: names of workers, beat, and the broker's own state."""

from __future__ import annotations

from collections import Counter

from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check


@check(
    "duplicate-node-name",
    "Two workers have one name",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    fix="give each worker a --hostname of its own",
    why="They answer for each other, and the second one cannot open its control queue: with Celery 5.7 it ends with "
    "RESOURCE_LOCKED (405).",
    read=["https://docs.celeryq.dev/en/stable/userguide/workers.html#starting-the-worker"],
    needs_plan=True,
)
def duplicate_node_name(check: Check, audit: Audit) -> Found:
    for node, count in Counter(audit.plan.nodes if audit.plan else ()).items():
        if count > 1:
            yield check.found(f"{count} workers are called {node}")


@check(
    "duplicate-beat",
    "More than one beat sends the schedule",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    fix="leave exactly one",
    why="Each beat sends every entry: with two of them everything runs twice, invoices included.",
    read=["https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html#introduction"],
    needs_plan=True,
)
def duplicate_beat(check: Check, audit: Audit) -> Found:
    beats = audit.plan.beats if audit.plan else None
    if beats is None:
        yield check.unknown("the plan does not say how many beats there are")
    elif beats > 1:
        yield check.found(f"{beats} beats send the schedule")
    elif beats == 0 and audit.loaded.schedule:
        yield check.found(
            f"there are {len(audit.loaded.schedule)} entries in the schedule, and no beat that sends them",
            severity=Severity.WARNING,
            fix="put one host into the group beat, or remove beat_schedule",
        )


#: Settings that name what Celery makes on a broker, with the values that it gives by itself.
CELERYS_NAMES = {
    "control_exchange": "celery",
    "event_exchange": "celeryev",
    "event_queue_prefix": "celeryev",
    "worker_direct": False,
}


@check(
    "name-without-rights",
    "The broker's users have no right to a name that the application gives",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    fix="remove the setting: a virtual host of its own keeps applications apart",
    why="Users of the broker may use the queues of the plan and the names that Celery gives by itself, and nothing "
    "else. A worker that declares anything else is refused, ends, and is started again, for ever.",
    read=["https://docs.celeryq.dev/en/stable/userguide/configuration.html#control-exchange"],
    needs_plan=True,
    broker="amqp",
)
def name_without_rights(check: Check, audit: Audit) -> Found:
    if not audit.plan or not audit.plan.celerys_names_only:
        return
    for name, usual in CELERYS_NAMES.items():
        if (value := audit.loaded.conf.get(name, usual)) != usual:
            yield check.found(
                f"{name} is {value!r}, to which no user of the broker has a right", place=audit.loaded.place
            )


@check(
    "redis-evicts",
    "Redis throws tasks away when it is full",
    severity=Severity.ERROR,
    evidence=Evidence.BROKER,
    practice=1,
    fix="maxmemory-policy noeviction",
    why="A cache may forget, a broker may not. With any other policy Redis deletes queues or results to make room, and "
    "says nothing; with noeviction the sender gets an error.",
    read=["https://redis.io/docs/latest/develop/reference/eviction/"],
    broker="redis",
)
def redis_evicts(check: Check, audit: Audit) -> Found:
    live = audit.live
    if live and live.eviction is None:
        yield check.unknown("Redis does not say what it evicts")
    elif live and live.eviction != "noeviction":
        yield check.found(
            f"Redis has the maxmemory-policy {live.eviction}",
            # Without a limit nothing is evicted until somebody sets one.
            severity=Severity.WARNING if live.maxmemory == 0 else None,
        )


@check(
    "redis-not-persistent",
    "Redis loses all tasks when it restarts",
    severity=Severity.ERROR,
    evidence=Evidence.BROKER,
    practice=1,
    fix="appendonly yes",
    why="Without an append-only file every queued and every delayed task is gone after a restart; with snapshots "
    "alone, those since the last one.",
    read=["https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/"],
    broker="redis",
)
def redis_not_persistent(check: Check, audit: Audit) -> Found:
    live = audit.live
    if not live or live.aof:
        return
    if live.aof is None or live.snapshots is None:
        yield check.unknown("Redis does not say whether it writes to its disk")
    elif live.snapshots:
        yield check.found(
            "Redis writes snapshots only, so a crash loses the tasks since the last", severity=Severity.WARNING
        )
    else:
        yield check.found("Redis writes nothing to its disk")
