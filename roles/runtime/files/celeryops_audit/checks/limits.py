# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a task may run or wait, and who takes it for dead before that."""

from __future__ import annotations

from collections.abc import Collection

from celeryops_audit.facts import names
from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check

#: Redis' visibility time-out in kombu, in seconds.
VISIBILITY_TIMEOUT = 3600


@check(
    "no-hard-limit",
    "A task may run for ever",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    practice=12,
    fix="give the task time_limit= and soft_time_limit=, or its worker",
    why="One call that never returns (a socket without a time-out is enough) takes one process out of the pool for "
    "good. When all are gone the queue stands still, and nothing looks broken.",
    read=[
        "https://docs.celeryq.dev/en/stable/userguide/workers.html#time-limits",
        "https://docs.celeryq.dev/en/stable/userguide/tasks.html",
    ],
)
def no_hard_limit(check: Check, audit: Audit) -> Found:
    open_ended = []
    for task in audit.tasks:
        consumers = audit.consumers(task)
        if not consumers and not task.time_limit:
            open_ended.append(task.name)
        for worker in consumers:
            if worker.heeds_limits and not (task.time_limit or worker.time_limit):
                yield check.found(
                    f"{task.name} has no hard time limit, and neither has the worker {worker.name} that runs it", task
                )
    if open_ended:
        why = "it takes the plan to know whether their workers have one" if not audit.plan else "no worker runs them"
        yield check.unknown(f"{len(open_ended)} tasks have no hard limit of their own ({names(open_ended)}), and {why}")
    for worker in audit.plan.workers if audit.plan else ():
        if not worker.heeds_limits:
            yield check.found(
                f"the worker {worker.name} runs in the pool {worker.pool}, so nothing stops a task that hangs",
                severity=Severity.WARNING,
                fix="use pool: prefork, unless every call in its tasks has a time-out of its own",
            )


@check(
    "soft-limit-not-below-hard",
    "The soft limit switches the hard limit off",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=12,
    fix="make soft_time_limit smaller than time_limit; set both where you set one",
    why="The prefork pool starts to count to the hard limit when the soft one has passed. A soft limit that is not "
    "smaller means that the hard limit does not come when it says; sending such a task may even fail.",
    read=["https://docs.celeryq.dev/en/stable/userguide/workers.html#time-limits"],
)
def soft_limit_not_below_hard(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        if task.soft_time_limit and task.time_limit:
            if task.soft_time_limit >= task.time_limit:
                yield check.found(
                    f"{task.name}: soft_time_limit ({task.soft_time_limit:g} s) is not below time_limit "
                    f"({task.time_limit:g} s)",
                    task,
                )
            continue
        for worker in audit.consumers(task):
            hard = task.time_limit or worker.time_limit
            soft = task.soft_time_limit or worker.soft_time_limit
            if worker.heeds_limits and hard and soft and soft >= hard:
                owner = f"of the worker {worker.name}"
                yield check.found(
                    f"{task.name}: soft limit ({soft:g} s{'' if task.soft_time_limit else f', {owner}'}) is not below "
                    f"the hard limit ({hard:g} s{'' if task.time_limit else f', {owner}'})",
                    task,
                )


@check(
    "limits-ignored-by-pool",
    "A task's limits mean nothing in its worker's pool",
    severity=Severity.WARNING,
    evidence=Evidence.PLAN,
    practice=12,
    fix="route the task to a worker with pool: prefork, or remove its limits and give every call in it a time-out",
    why="Only the prefork pool can interrupt a task. In threads, gevent, eventlet and solo the limit is written down "
    "and never comes.",
    read=["https://docs.celeryq.dev/en/stable/userguide/workers.html#time-limits"],
    needs_plan=True,
)
def limits_ignored_by_pool(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        for worker in audit.consumers(task):
            if task.limits_of_its_own and not worker.heeds_limits:
                yield check.found(
                    f"{task.name} sets time limits, which the pool {worker.pool} of the worker {worker.name} ignores",
                    task,
                )


@check(
    "stop-timeout-below-limit",
    "A stop kills a task that may still run",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    practice=12,
    fix="give the worker in celery_workers the task's time_limit (its stop time-out follows), or lower the task's",
    why="systemd waits for a stopping worker as long as its unit says, then kills it. A task whose own limit is longer "
    "dies at every release and restart, at a place where its author did not expect it.",
    read=[
        "https://docs.celeryq.dev/en/stable/userguide/workers.html#stopping-the-worker",
        "https://github.com/celery/celery/issues/6541",
    ],
    needs_plan=True,
)
def stop_timeout_below_limit(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        for worker in audit.consumers(task):
            limit = task.time_limit or worker.time_limit
            if worker.heeds_limits and limit and worker.timeout_stop and limit > worker.timeout_stop:
                yield check.found(
                    f"{task.name} may run {limit:g} s, but a stop of the worker {worker.name} kills it after "
                    f"{worker.timeout_stop:g} s",
                    task,
                )


@check(
    "visibility-timeout-below-limit",
    "Redis hands out a task again while it runs",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=12,
    fix="set broker_transport_options['visibility_timeout'] above the longest time limit",
    why="With late acknowledgement a message that is not acknowledged within the visibility time-out is given to "
    "another worker: the task runs twice at the same time, and again after the next time-out.",
    read=["https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout"],
    broker="redis",
)
def visibility_timeout_below_limit(check: Check, audit: Audit) -> Found:
    app = audit.loaded
    if audit.plan and audit.plan.visibility_renewed:
        return
    visible = float(app.transport.get("visibility_timeout") or VISIBILITY_TIMEOUT)
    endless = []
    for task in audit.tasks:
        if not audit.late(task):
            continue
        limit = max((limit or 0 for limit, _worker in audit.hard_limits(task)), default=0)
        if not limit:
            endless.append(task.name)
        elif limit >= visible:
            yield check.found(
                f"{task.name} acknowledges late and may run {limit:g} s, but after {visible:g} s Redis hands it out "
                "again",
                task,
            )
    if endless:
        yield check.unknown(f"how long {names(endless)} may run is not known, so neither whether {visible:g} s suffice")


@check(
    "visibility-timeout-below-delay",
    "Redis hands out a waiting task again and again",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=8,
    fix="set broker_transport_options['visibility_timeout'] above the longest countdown, eta and retry delay",
    why="On Redis a delayed task waits, unacknowledged, in a worker. When the visibility time-out passes first, the "
    "task is delivered to another worker, where it waits too: in the end all of them run it.",
    read=["https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout"],
    broker="redis",
)
def visibility_timeout_below_delay(check: Check, audit: Audit) -> Found:
    app = audit.loaded
    if audit.plan and audit.plan.visibility_renewed:
        return
    visible = float(app.transport.get("visibility_timeout") or VISIBILITY_TIMEOUT)
    yield from _delays(check, audit, visible, f"Redis hands it out again after {visible:g} s")


@check(
    "consumer-timeout-below-limit",
    "RabbitMQ closes the channel of a task that runs",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    practice=12,
    fix="give the worker in celery_workers the task's time_limit (the consumer time-out follows), or raise the "
    "broker's",
    why="RabbitMQ closes a channel that holds a delivery longer than its consumer time-out, half an hour by default. "
    "A task that acknowledges late and runs longer is delivered again while it runs, and the worker loses its "
    "connection.",
    read=[
        "https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout",
        "https://github.com/celery/celery/issues/6760",
    ],
    needs_plan=True,
    broker="amqp",
)
def consumer_timeout_below_limit(check: Check, audit: Audit) -> Found:
    timeout = audit.plan.consumer_timeout if audit.plan else None
    if timeout is None:
        yield check.unknown("the broker's consumer time-out is not known; RabbitMQ's own is 1800 s")
        return
    for task in audit.tasks:
        limit = max((limit or 0 for limit, _worker in audit.hard_limits(task)), default=0)
        if audit.late(task) and limit >= timeout:
            yield check.found(
                f"{task.name} acknowledges late and may run {limit:g} s, but after {timeout:g} s RabbitMQ closes its "
                "channel",
                task,
            )


@check(
    "consumer-timeout-below-delay",
    "RabbitMQ closes the channel of a task that waits",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    practice=8,
    fix="use quorum queues on a topic exchange, where delays wait on the broker; or shorten the delay",
    why="On a classic queue a delayed task waits, unacknowledged, in a worker. A delay longer than the consumer "
    "time-out closes the channel and takes down everything that came through it.",
    read=[
        "https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout",
        "https://github.com/celery/celery/issues/6760",
    ],
    needs_plan=True,
    broker="amqp",
)
def consumer_timeout_below_delay(check: Check, audit: Audit) -> Found:
    timeout = audit.plan.consumer_timeout if audit.plan else None
    on_the_broker = {queue.name for queue in audit.loaded.queues if queue.quorum and queue.exchange_type == "topic"}
    if all(queue.name in on_the_broker for queue in audit.loaded.queues):
        return
    if timeout is None:
        yield check.unknown("the broker's consumer time-out is not known; RabbitMQ's own is 1800 s")
        return
    waits_there = {task.name for task in audit.tasks if task.queue in on_the_broker}
    yield from _delays(check, audit, timeout, f"RabbitMQ closes the channel after {timeout:g} s", waits_there)


def _delays(check: Check, audit: Audit, longest: float, otherwise: str, unless: Collection[str] = ()) -> Found:
    """Delays beyond what the broker is patient with; those that only the source says are hints."""
    unclear = 0
    for seconds, what, task, place in audit.delays:
        if seconds is None:
            unclear += 1
        elif seconds >= longest and task not in unless:
            who = task or "a task"
            # Only the task's own options are certain to be used.
            sure = task is not None
            yield check.found(f"{who} may wait {seconds:g} s ({what}), but {otherwise}", task, place, decidable=sure)
    if unclear:
        yield check.unknown(f"{unclear} delays are computed where they are asked for, so their length is not known")
