# SPDX-License-Identifier: GPL-3.0-or-later
"""What is handed to tasks."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from celeryops_audit import sources
from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check
from celeryops_audit.sources import Function, Module

#: Calls on a Django manager that give rows, and those at a chain's end that give plain values again.
ROWS = ("get", "filter", "exclude", "all", "first", "last", "create", "get_or_create", "earliest", "latest", "order_by")
PLAIN = ("pk", "id", "count", "exists", "values_list", "values", "aggregate", "delete", "update", "in_bulk")
STATE = "https://docs.celeryq.dev/en/stable/userguide/tasks.html#state"


@check(
    "model-parameter",
    "A task takes a database's row as parameter",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    practice=2,
    fix="take the row's id, and read the row in the task",
    why="The row may have changed before the task runs, and the task writes the old state back over the new. JSON "
    "cannot carry it at all, so the call fails.",
    read=[STATE],
)
def model_parameter(check: Check, audit: Audit) -> Found:
    for task in audit.tasks:
        for parameter in task.parameters:
            if parameter.model:
                yield check.found(f"{task.name} takes {parameter.name}: {parameter.model}, a database's row", task)


@check(
    "model-at-call-site",
    "A database's row is handed to a task",
    severity=Severity.WARNING,
    evidence=Evidence.SOURCE,
    practice=2,
    fix="hand over its id: task.delay(user.pk)",
    why="As above, seen where the task is called.",
    read=[STATE],
)
def model_at_call_site(check: Check, audit: Audit) -> Found:
    for module in audit.sources.modules.values():
        for function in module.functions.values():
            handed = [(call, each) for call in sources.calls_in(function) for each in _arguments(call)]
            if not handed:
                continue
            rows = {name for name, value in _assigned(function) if _is_row(module, value)}
            own = function.args.args[0].arg if function.args.args and _method_of_model(module, function) else ""
            for call, argument in handed:
                named = isinstance(argument, ast.Name) and (argument.id in rows or argument.id == own)
                if named or _is_row(module, argument):
                    yield check.found(
                        f"{ast.unparse(argument)[:60]} is a database's row, and is handed to a task",
                        place=module.at(call),
                    )


def _arguments(call: ast.Call) -> Iterator[ast.expr]:
    """What a task is called with."""
    if not isinstance(call.func, ast.Attribute):
        return
    if call.func.attr in ("delay", "delay_on_commit"):
        yield from call.args
        yield from (each.value for each in call.keywords)
    elif call.func.attr in ("apply_async", "apply_async_on_commit", "send_task"):
        position = 1 if call.func.attr == "send_task" else 0
        positional = call.args[position] if len(call.args) > position else sources.keyword(call, "args")
        if isinstance(positional, (ast.List, ast.Tuple)):
            yield from positional.elts
        given = sources.keyword(call, "kwargs")
        if isinstance(given, ast.Dict):
            yield from given.values


def _assigned(function: Function) -> Iterator[tuple[str, ast.expr]]:
    """Names that a function sets once, and to what; of a loop, what it goes through."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            found.setdefault(node.target.id, []).append(node.iter)
    return ((name, values[0]) for name, values in found.items() if len(values) == 1)


def _is_row(module: Module, node: ast.expr) -> bool:
    """Whether an expression is surely a row, or a query for rows."""
    if isinstance(node, ast.Call):
        if module.meaning(node.func) in (
            "django.shortcuts.get_object_or_404",
            "django.shortcuts.get_list_or_404",
        ):
            return True
        names = _chain(node)
        return "objects" in names and names[-1] in ROWS and not set(names) & set(PLAIN)
    return dotted_is_user(node)


def dotted_is_user(node: ast.expr) -> bool:
    return sources.dotted(node) in ("request.user", "self.request.user")


def _chain(node: ast.expr) -> list[str]:
    """The names of `A.b.c().d()`, in that order."""
    if isinstance(node, ast.Call):
        return _chain(node.func)
    if isinstance(node, ast.Attribute):
        return [*_chain(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def _method_of_model(module: Module, function: Function) -> bool:
    """Whether a function is a method of a Django model, whose `self` is a row."""
    if any(sources.dotted(each) in ("staticmethod", "classmethod") for each in function.decorator_list):
        return False
    owner = module.methods.get(function)
    return owner is not None and any(module.meaning(base) == "django.db.models.Model" for base in owner.bases)
