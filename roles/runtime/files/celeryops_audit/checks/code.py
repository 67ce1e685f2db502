# SPDX-License-Identifier: GPL-3.0-or-later
"""What only the source shows. All of these are hints."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from celeryops_audit import sources
from celeryops_audit.facts import Task, names
from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check
from celeryops_audit.sources import Function, Module

WAITS = ("get", "join", "join_native", "wait", "collect", "iterate", "get_leaf")
RESULTS = ("celery.result.AsyncResult", "celery.result.GroupResult", "celery.result.ResultSet")
SOFT = "SoftTimeLimitExceeded"
BROAD = ("Exception", "BaseException")
ATOMIC = ("django.db.transaction.atomic", "django.db.transaction.commit_on_success")
LOGS = ("debug", "info", "warning", "warn", "error", "exception", "critical", "log")


def bodies(audit: Audit) -> Iterator[tuple[Task, Module, Function]]:
    """Every task with its function, where that was found."""
    for task in audit.tasks:
        body = audit.sources.body(task)
        if body:
            yield task, *body


@check(
    "waits-for-task",
    "A task waits for another task",
    severity=Severity.WARNING,
    evidence=Evidence.SOURCE,
    practice=3,
    fix="say what follows what with chain, group or chord, and let the next task take the result as its argument",
    why="The waiting task holds a process that the other one may need. With as many waiting tasks as processes all of "
    "them wait for ever.",
    read=["https://docs.celeryq.dev/en/stable/userguide/tasks.html#avoid-launching-synchronous-subtasks"],
)
def waits_for_task(check: Check, audit: Audit) -> Found:
    for task, module, function in bodies(audit):
        results = {
            target.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and _is_result(module, node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in sources.calls_in(function):
            if not (isinstance(call.func, ast.Attribute) and call.func.attr in WAITS):
                continue
            waited = call.func.value
            if _is_result(module, waited) or (isinstance(waited, ast.Name) and waited.id in results):
                yield check.found(f"{task.name} waits for another task ({call.func.attr})", task, module.at(call))


def _is_result(module: Module, node: ast.expr) -> bool:
    """Whether an expression is the result of a task that was sent."""
    if not isinstance(node, ast.Call):
        return False
    if sources.sends(node) or module.meaning(node.func) in RESULTS:
        return True
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("AsyncResult", "GroupResult"):
        return True
    # group(...)() and the like
    return isinstance(node.func, ast.Call) and module.meaning(node.func.func) in sources.CANVAS


@check(
    "soft-limit-swallowed",
    "A broad except swallows the soft time limit",
    severity=Severity.WARNING,
    evidence=Evidence.SOURCE,
    practice=12,
    fix="catch SoftTimeLimitExceeded before it, and end in good order; or raise again",
    why="SoftTimeLimitExceeded is an Exception. `except Exception` takes it for an ordinary error: the task goes on, "
    "or counts as done, and the hard limit kills it in the middle of something.",
    read=["https://docs.celeryq.dev/en/stable/userguide/workers.html#time-limits"],
)
def soft_limit_swallowed(check: Check, audit: Audit) -> Found:
    unlimited = []
    for task, module, function in bodies(audit):
        swallowing = list(_swallows(function))
        limited = task.soft_time_limit or any(worker.soft_time_limit for worker in audit.consumers(task))
        if swallowing and not limited:
            unlimited.append(task.name)
        for handler in swallowing if limited else ():
            yield check.found(
                f"{task.name} has a soft limit, which this except takes for an ordinary error", task, module.at(handler)
            )
    if unlimited and not audit.plan:
        yield check.unknown(f"{names(unlimited)} catch everything; whether they get a soft limit is not known here")


def _swallows(function: Function) -> Iterator[ast.ExceptHandler]:
    for node in ast.walk(function):
        if not isinstance(node, ast.Try) or not any(True for each in node.body for _call in sources.calls_in(each)):
            continue
        for handler in node.handlers:
            caught = _caught(handler)
            if SOFT in caught:
                break
            if not caught or set(caught) & set(BROAD):
                if not any(_leaves(inner) for inner in ast.walk(handler)):
                    yield handler
                break


def _caught(handler: ast.ExceptHandler) -> list[str]:
    """The last parts of the names of what is caught; none for a bare except."""
    if handler.type is None:
        return []
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [sources.dotted(kind).rpartition(".")[2] or "?" for kind in kinds]


def _leaves(node: ast.AST) -> bool:
    """Whether the task ends here with an error: it raises, or retries."""
    return isinstance(node, ast.Raise) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("retry", "reraise")
    )


@check(
    "dispatch-in-transaction",
    "A task is sent before what it reads is committed",
    severity=Severity.WARNING,
    evidence=Evidence.SOURCE,
    practice=5,
    fix="send it after the commit: transaction.on_commit(lambda: task.delay(pk)), or task.delay_on_commit(pk)",
    why="The worker is often faster than the commit: it does not find the row, or the old state of it. And when the "
    "transaction is rolled back the task runs all the same.",
    read=[
        "https://docs.celeryq.dev/en/stable/userguide/tasks.html#database-transactions",
        "https://docs.djangoproject.com/en/stable/topics/db/transactions/#performing-actions-after-commit",
    ],
)
def dispatch_in_transaction(check: Check, audit: Audit) -> Found:
    for module in audit.sources.modules.values():
        for block in _transactions(module):
            for call in _directly(block):
                if sources.sends(call):
                    yield check.found(
                        f"{ast.unparse(call.func)} sends a task inside a database transaction", place=module.at(call)
                    )


def _transactions(module: Module) -> Iterator[list[ast.stmt]]:
    for node in module.nodes:
        if isinstance(node, (ast.With, ast.AsyncWith)):
            if any(_is_transaction(module, item.context_expr) for item in node.items):
                yield node.body
        elif isinstance(node, sources.Function) and any(
            _is_transaction(module, each) and not _begins(each) for each in node.decorator_list
        ):
            yield node.body


def _is_transaction(module: Module, node: ast.expr) -> bool:
    return module.meaning(node.func if isinstance(node, ast.Call) else node) in ATOMIC or _begins(node)


def _begins(node: ast.expr) -> bool:
    """SQLAlchemy: `with session.begin():`, `with engine.begin() as connection:`."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    owner = sources.dotted(node.func.value).lower()
    return node.func.attr in ("begin", "begin_nested") and ("session" in owner or "engine" in owner)


def _directly(statements: list[ast.stmt]) -> Iterator[ast.Call]:
    """Calls that are made then and there, not those of a function or lambda that is only defined."""
    todo: list[ast.AST] = list(statements)
    while todo:
        node = todo.pop(0)
        if isinstance(node, (sources.Function, ast.Lambda)):
            continue
        if isinstance(node, ast.Call):
            yield node
        todo += ast.iter_child_nodes(node)


@check(
    "print-in-task",
    "A task prints",
    severity=Severity.WARNING,
    evidence=Evidence.SOURCE,
    practice=16,
    fix="log = get_task_logger(__name__), and log.info(...)",
    why="What is printed has no level, no time, and no task: in a journal with a hundred tasks at once it belongs to "
    "none of them.",
    read=["https://docs.celeryq.dev/en/stable/userguide/tasks.html#logging"],
)
def print_in_task(check: Check, audit: Audit) -> Found:
    for task, module, function in bodies(audit):
        for call in sources.calls_in(function):
            if isinstance(call.func, ast.Name) and call.func.id == "print" and "print" not in module.imports:
                yield check.found(f"{task.name} prints", task, module.at(call))


@check(
    "plain-logger",
    "A task logs without saying which task it is",
    severity=Severity.NOTE,
    evidence=Evidence.SOURCE,
    practice=16,
    fix="from celery.utils.log import get_task_logger; log = get_task_logger(__name__)",
    why="Celery's task logger puts the task's name and id into each line. A plain logger's lines cannot be told apart. "
    "(The workers of celeryops.stack add both to any logger's lines; elsewhere they do not.)",
    read=["https://docs.celeryq.dev/en/stable/userguide/tasks.html#logging"],
)
def plain_logger(check: Check, audit: Audit) -> Found:
    for task, module, function in bodies(audit):
        for call in sources.calls_in(function):
            if not (isinstance(call.func, ast.Attribute) and call.func.attr in LOGS):
                continue
            owner = call.func.value
            made = module.assigned.get(owner.id) if isinstance(owner, ast.Name) else None
            plain = isinstance(made, ast.Call) and module.meaning(made.func) == "logging.getLogger"
            if plain or module.meaning(owner) == "logging":
                yield check.found(f"{task.name} logs with a plain logger", task, module.at(call))
                break  # once a task is enough


@check(
    "source-not-read",
    "Source could not be read",
    severity=Severity.NOTE,
    evidence=Evidence.SOURCE,
    fix="",
    why="What is not there as Python source (compiled extensions, functions made at run time, files that do not parse) "
    "cannot be read, so the checks that read source say nothing about it.",
    read=[],
)
def source_not_read(check: Check, audit: Audit) -> Found:
    unseen = [task.name for task in audit.tasks if audit.sources.body(task) is None]
    if unseen:
        yield check.unknown(f"the source of {len(unseen)} tasks was not found ({names(unseen)})")
    if audit.sources.unread:
        yield check.unknown(f"{len(audit.sources.unread)} files could not be read ({names(audit.sources.unread)})")
    if audit.sources.too_many:
        yield check.unknown(f"there are more than {sources.MOST_FILES} files; only those with tasks were read")
