# SPDX-License-Identifier: GPL-3.0-or-later
"""Where tasks go, and who is there."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator

from celeryops_audit import sources as source
from celeryops_audit.facts import Queue, Task, names
from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check


@check(
    "route-without-consumer",
    "Tasks go to a queue that nobody consumes",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    practice=13,
    fix="route them to a queue of celery_workers, or add a worker that consumes it",
    why="They are accepted, and wait for ever. Nothing fails; the queue only grows.",
    read=["https://docs.celeryq.dev/en/stable/userguide/routing.html"],
    needs_plan=True,
)
def route_without_consumer(check: Check, audit: Audit) -> Found:
    consumed = audit.plan.queues if audit.plan else []
    for task in audit.tasks:
        if task.queue_problem and "QueueNotFound" not in task.queue_problem:
            yield check.unknown(f"the queue of {task.name} cannot be told: {task.queue_problem}", task)
        elif task.queue is not None and task.queue not in (*consumed, *audit.loaded.broadcasts):
            yield check.found(
                f"{task.name} goes to the queue {task.queue!r}, which no worker consumes{hint(task.queue, consumed)}",
                task,
            )
    of_tasks = {task.queue for task in audit.tasks}
    for pattern, queue in audit.loaded.routes:
        if queue not in consumed and queue not in of_tasks and queue not in audit.loaded.broadcasts:
            yield check.found(
                f"the route {pattern!r} leads to the queue {queue!r}, which no worker consumes{hint(queue, consumed)}",
                place=audit.loaded.place,
                severity=Severity.WARNING,  # no task of this application takes it
            )


def hint(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else f"; consumed are {', '.join(known) or 'none'}"


@check(
    "route-to-undeclared-queue",
    "A task cannot be sent: its queue is not declared",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=13,
    fix="add the queue to task_queues (with celeryops.stack: to celery_workers), or correct the route",
    why="With `task_create_missing_queues` off every `delay()` of the task raises QueueNotFound in its caller.",
    read=["https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-create-missing-queues"],
)
def route_to_undeclared_queue(check: Check, audit: Audit) -> Found:
    # The remedy would make a work queue of a broadcast, of which is spoken elsewhere.
    broadcasts = [repr(name) for name in audit.loaded.broadcasts] if audit.plan else []
    for task in audit.tasks:
        if "QueueNotFound" in task.queue_problem and not any(name in task.queue_problem for name in broadcasts):
            said = task.queue_problem.partition(": ")[2]
            yield check.found(f"{task.name} cannot be sent: {said}", task)


@check(
    "queue-not-declared",
    "A worker consumes a queue that nobody declares",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    practice=13,
    fix="add the queue to task_queues, or correct the worker's queues",
    why="With `task_create_missing_queues` off the worker refuses to start; with it on it consumes a misspelt queue, "
    "made in that moment, in which nothing ever arrives.",
    read=["https://docs.celeryq.dev/en/stable/userguide/workers.html#queues"],
    needs_plan=True,
)
def queue_not_declared(check: Check, audit: Audit) -> Found:
    app = audit.loaded
    declared = {queue.name for queue in app.queues}
    for worker in audit.plan.workers if audit.plan else ():
        for queue in worker.queues:
            if queue not in declared and app.conf.get("task_create_missing_queues") is False:
                yield check.found(
                    f"the worker {worker.name} consumes the queue {queue!r}, which task_queues does not declare"
                    f"{hint(queue, sorted(declared))}"
                )


@check(
    "broadcast-on-work-queue",
    "A broadcast would reach one worker only",
    severity=Severity.ERROR,
    evidence=Evidence.PLAN,
    practice=13,
    fix="send one task to a queue of each host (an entry of celery_workers for each, with hosts), or make it a command "
    "of remote control",
    why="`Broadcast` gives each worker a queue of its own, which is deleted with it, so that all of them run the task. "
    "The queues of a plan are work queues: they outlive their workers, and hand each message to one of them. With a "
    "queue of the same name in the plan the task would run once, somewhere.",
    read=[
        "https://docs.celeryq.dev/en/stable/userguide/routing.html#broadcast",
        "https://docs.celeryq.dev/en/stable/userguide/workers.html#writing-your-own-remote-control-commands",
    ],
)
def broadcast_on_work_queue(check: Check, audit: Audit) -> Found:
    for name in audit.loaded.broadcasts:
        if audit.plan:
            yield check.found(
                f"the queue {name!r} is a broadcast, but the queues of workers hand each message to one worker only",
                place=audit.loaded.place,
            )
        else:
            yield check.unknown(f"the queue {name!r} is a broadcast; whether the deployment has such takes its plan")


def largest_priorities(audit: Audit) -> Iterator[tuple[str, str | None]]:
    """What asks for queues with priorities, in words, and the queue where it is about one."""
    app = audit.loaded
    if most := app.conf.get("task_queue_max_priority"):
        yield f"task_queue_max_priority is {most}", None
        return
    for queue in {each.name: each for each in (*app.queues, *app.own_queues)}.values():
        if most := queue.arguments.get("x-max-priority"):
            yield f"the queue {queue.name!r} has x-max-priority {most}", queue.name


@check(
    "priority-not-kept",
    "Tasks are not run in the order of their priorities",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=13,
    fix="remove the priority, and give what is to come first a queue and workers of its own (with celeryops.stack: an "
    "entry of celery_workers)",
    why="What a priority means to a quorum queue depends on RabbitMQ: nothing before 4.0; until 4.2 there are two "
    "levels, 0 to 4 and above, of which it delivers two of the higher for one of the lower; from 4.3 on the larger one "
    "always comes first. A quorum queue with `x-max-priority` is refused by RabbitMQ before 4.3. Redis has no such "
    "argument either: there are the priorities 0, 3, 6 and 9, and the smallest comes first.",
    read=[
        "https://www.rabbitmq.com/docs/quorum-queues#priorities",
        "https://docs.celeryq.dev/en/stable/userguide/routing.html#redis-message-priorities",
    ],
)
def priority_not_kept(check: Check, audit: Audit) -> Found:
    app, place = audit.loaded, audit.loaded.place
    if app.kind == "redis":
        for what, _queue in largest_priorities(audit):
            yield check.found(
                f"{what}, which Redis does not know: it has the priorities 0, 3, 6 and 9, and 0 comes first",
                place=place,
                fix="remove it, and give what is to come first the smallest priority, or a queue of its own",
            )
        return
    planned = bool(audit.plan and audit.plan.quorum_queues)
    quorum = {queue.name for queue in app.queues if queue.quorum or planned}
    if app.kind != "amqp" or not quorum:
        return
    for what, queue in largest_priorities(audit):
        if queue is None or queue in quorum or planned:
            yield check.found(f"{what}, which quorum queues do not know", place=place)
    usual = app.conf.get("task_default_priority") or 0
    for task in audit.tasks:
        if task.queue in quorum and (task.priority or 0) != usual:
            yield check.found(
                f"{task.name} has the priority {task.priority}, whose meaning in the quorum queue {task.queue!r} "
                "depends on the version of RabbitMQ",
                task,
            )
    for entry in app.schedule:
        if entry.priority is not None and entry.priority != usual:
            yield check.found(
                f"the entry {entry.name!r} of the schedule has the priority {entry.priority}, whose meaning in a "
                "quorum queue depends on the version of RabbitMQ",
                entry.task,
                place,
            )
    for module, call in audit.sources.calls():
        given = source.keyword(call, "priority") if source.sends(call) else None
        if given is not None and not (isinstance(given, ast.Constant) and given.value in (None, usual)):
            yield check.found(
                "a task is sent with a priority, whose meaning in a quorum queue depends on the version of RabbitMQ",
                place=module.at(call),
                decidable=False,
            )


def delayed(audit: Audit, queue: Queue) -> tuple[list[str], bool]:
    """Tasks of a queue that are delayed, and whether their own options say so."""

    def here(task: Task) -> bool:
        return task.queue == queue.name

    certain = [task.name for task in audit.tasks if here(task) and task.retries_later]
    return certain or [task.name for task in audit.tasks if here(task) and audit.retries(task)], bool(certain)


@check(
    "delays-on-direct-exchange",
    "Countdowns and retries hold back what is queued behind them",
    severity=Severity.ERROR,
    evidence=Evidence.APP,
    practice=8,
    fix="give quorum queues a topic exchange: task_default_exchange_type = 'topic', and the same in task_queues",
    why="On quorum queues Celery delays tasks on the broker, but that cannot work through a direct exchange: it goes "
    "on without, and delayed tasks then fill the worker's prefetch window. Here everything behind them stood still for "
    "24 seconds, on RabbitMQ 3.10 and 4.0 alike.",
    read=[
        "https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/rabbitmq.html#native-delayed-delivery",
        "https://docs.celeryq.dev/en/stable/userguide/calling.html#eta-and-countdown",
    ],
    broker="amqp",
)
def delays_on_direct_exchange(check: Check, audit: Audit) -> Found:
    for queue in audit.loaded.queues:
        tasks, certain = delayed(audit, queue)
        if queue.quorum and queue.exchange_type == "direct" and tasks:
            yield check.found(
                f"the quorum queue {queue.name!r} is on the {queue.exchange_type} exchange {queue.exchange!r}, so the "
                f"delayed retries of {names(tasks)} hold back what is behind them",
                place=audit.loaded.place,
                decidable=certain,
            )


@check(
    "delays-on-classic-queue",
    "On RabbitMQ 4 delays fill the worker's window",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    practice=8,
    fix="use quorum queues on a topic exchange: task_default_queue_type = 'quorum', task_default_exchange_type = "
    "'topic'",
    why="Delayed tasks of a classic queue wait in a worker, which asks for that many more messages. RabbitMQ 4 no "
    "longer lets it: once as many wait as were prefetched, nothing else is delivered.",
    read=[
        "https://docs.celeryq.dev/en/stable/userguide/calling.html#eta-and-countdown",
        "https://www.rabbitmq.com/docs/quorum-queues",
    ],
    broker="amqp",
)
def delays_on_classic_queue(check: Check, audit: Audit) -> Found:
    live = audit.live
    for queue in audit.loaded.queues:
        tasks, _said = delayed(audit, queue)
        if queue.quorum or not tasks:
            continue
        if live and live.major is not None and "rabbitmq" in live.product.lower():
            if live.major >= 4:
                yield check.found(
                    f"the queue {queue.name!r} is a classic one on RabbitMQ {live.version}, and {names(tasks)} are "
                    "delayed in it",
                    place=audit.loaded.place,
                )
        else:
            yield check.unknown(
                f"{names(tasks)} are delayed in the classic queue {queue.name!r}; whether the broker is RabbitMQ 4, "
                "where that stalls, is not known"
            )


@check(
    "autoscale-inert",
    "Autoscaling has no effect",
    severity=Severity.WARNING,
    evidence=Evidence.PLAN,
    fix="set a fixed concurrency; to scale, start more instances",
    why="The autoscaler raises the prefetch count with the number of processes, for which it needs the broker's global "
    "QoS. Quorum queues have none: more processes start, and no more tasks come.",
    read=["https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/rabbitmq.html#using-quorum-queues"],
    needs_plan=True,
)
def autoscale_inert(check: Check, audit: Audit) -> Found:
    quorum = {queue.name for queue in audit.loaded.queues if queue.quorum}
    for worker in audit.plan.workers if audit.plan else ():
        if worker.autoscale and (quorum & set(worker.queues) or not worker.heeds_limits):
            inert = "its queues are quorum queues" if worker.heeds_limits else f"its pool is {worker.pool}"
            yield check.found(f"the worker {worker.name} is to autoscale, but {inert}")


@check(
    "queue-arguments-differ",
    "What exists on the broker is not what the application declares",
    severity=Severity.ERROR,
    evidence=Evidence.BROKER,
    practice=13,
    fix="delete what exists when it is empty (playbooks/delete_queue.yml, or have it done by whoever runs the broker), "
    "or give this one another name in celery_workers",
    why="RabbitMQ never changes an existing queue or exchange. A worker that declares it with other properties is "
    "answered with 406 PRECONDITION_FAILED and does not start.",
    read=["https://www.rabbitmq.com/docs/queues#property-equivalence"],
    broker="amqp",
)
def queue_arguments_differ(check: Check, audit: Audit) -> Found:
    for thing, said in (audit.live.refused if audit.live else {}).items():
        yield check.found(f"the broker has the {thing} {difference(said)}")
    for said in audit.live.unclear if audit.live else ():
        yield check.unknown(f"the broker does not let the application look: {said}")


def difference(said: str) -> str:
    """What RabbitMQ says about an argument, which each version words in its own way."""
    found = re.search(r"inequivalent arg '([^']+)' .*?received (.+?) but current is (.+)", said)
    if not found:
        return f"with other properties: {said}"
    unsaid = "classic" if found[1] == "x-queue-type" else "none"
    wants, has = (quoted[1] if (quoted := re.search(r"'([^']*)'", part)) else unsaid for part in found.groups()[1:])
    return f"with {found[1]} {has} instead of {wants}"
