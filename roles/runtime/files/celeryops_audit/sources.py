# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's source, read as a tree; nothing of it is run here.

Only what a task's function or a caller says literally is looked at, not what they call. So whatever is found here is a
hint, and is said to be one.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property

from celeryops_audit.child import is_library
from celeryops_audit.facts import App, Place, Task

Function = ast.FunctionDef | ast.AsyncFunctionDef

#: A file without any of these says nothing about tasks.
_OF_INTEREST = re.compile(rb"\.delay\b|apply_async|send_task|celery|\.s\(|\.si\(|chord")
_NOT_RUN = re.compile(
    r"(^|/)(tests?|testing|migrations|node_modules|docs|examples)/|(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$"
)
#: More files than this are not read.
MOST_FILES = 5000
SENDS = ("delay", "apply_async", "send_task")
CANVAS = ("celery.chain", "celery.group", "celery.chord", "celery.chunks", "celery.canvas.chain", "celery.canvas.group")


def dotted(node: ast.AST) -> str:
    """`a.b.c`, or nothing where it is not written that simply."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


@dataclass
class Module:
    """One file."""

    file: str
    name: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Everything in it."""
        return list(ast.walk(self.tree))

    @cached_property
    def calls(self) -> list[ast.Call]:
        return [node for node in self.nodes if isinstance(node, ast.Call)]

    @cached_property
    def methods(self) -> dict[ast.AST, ast.ClassDef]:
        """Each method's class."""
        return {inner: node for node in self.nodes if isinstance(node, ast.ClassDef) for inner in node.body}

    @cached_property
    def imports(self) -> dict[str, str]:
        """What each imported name stands for, wherever in the file it is imported."""
        found = {}
        package = self.name.split(".") if self.file.endswith("__init__.py") else self.name.split(".")[:-1]
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                source = ".".join([*base, *([node.module] if node.module else [])])
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{source}.{alias.name}"
        return found

    @cached_property
    def functions(self) -> dict[int, Function]:
        """Each function by its first line, where its decorators begin."""
        return {
            min([node.lineno, *(each.lineno for each in node.decorator_list)]): node
            for node in self.nodes
            if isinstance(node, Function)
        }

    @cached_property
    def assigned(self) -> dict[str, ast.expr]:
        """What the module's own names are set to."""
        return {
            target.id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def meaning(self, node: ast.AST) -> str:
        """A dotted name, with what its first part was imported as."""
        head, dot, rest = dotted(node).partition(".")
        return self.imports.get(head, head) + dot + rest

    def at(self, node: ast.expr | ast.stmt | ast.excepthandler) -> Place:
        return Place(self.file, node.lineno)


@dataclass
class Sources:
    """All files of an application that can say something."""

    modules: dict[str, Module] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    too_many: bool = False

    def body(self, task: Task) -> tuple[Module, Function] | None:
        """The function of a task."""
        module = self.modules.get(task.file)
        function = module.functions.get(task.line) if module else None
        return (module, function) if module and function else None

    def calls(self) -> Iterator[tuple[Module, ast.Call]]:
        """Every call anywhere."""
        for module in self.modules.values():
            for call in module.calls:
                yield module, call


def read(app: App) -> Sources:
    """Read what is the application's own, and the files of all its tasks."""
    sources = Sources()
    of_tasks = {task.file for task in app.tasks if task.file}
    candidates = {file: name for name, file in _own(app).items()}
    names = {file: name for name, file in app.modules.items()}
    for file in of_tasks:
        candidates.setdefault(file, names.get(file, ""))
    if len(candidates) > MOST_FILES:
        sources.too_many = True
        candidates = {file: name for file, name in candidates.items() if file in of_tasks}
    for file, name in sorted(candidates.items()):
        try:
            with open(file, "rb") as stream:
                text = stream.read()
            if file in of_tasks or _OF_INTEREST.search(text):
                with warnings.catch_warnings():  # of escapes and comparisons in it, which are not our affair
                    warnings.simplefilter("ignore")
                    sources.modules[file] = Module(file, name, ast.parse(text, file))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            sources.unread.append(file)
    return sources


def _own(app: App) -> dict[str, str]:
    """The application's own modules, also those that are not loaded: whoever sends tasks may be a web process."""
    loaded = {
        name: file
        for name, file in app.modules.items()
        if not name.startswith("celeryops_") and not is_library(file, app.package) and name != "__main__"
    }
    found = dict(loaded)
    for name, file in loaded.items():
        if "." not in name and os.path.basename(file) == "__init__.py":
            top = os.path.dirname(file)
            for folder, folders, files in os.walk(top):
                folders[:] = sorted(each for each in folders if not each.startswith((".", "__")))
                if "pyvenv.cfg" in files:  # an environment: other people's packages
                    folders.clear()
                    continue
                inner = os.path.relpath(folder, top)
                package = name if inner == "." else f"{name}.{inner.replace(os.sep, '.')}"
                if _NOT_RUN.search(f"{inner}/"):
                    folders.clear()
                    continue
                for each in files:
                    if each.endswith(".py") and not _NOT_RUN.search(each):
                        module = package if each == "__init__.py" else f"{package}.{each[:-3]}"
                        found.setdefault(module, os.path.join(folder, each))
    return found


# --- what is looked for in more than one check ------------------------------------------------------------------------


@cache
def calls_in(node: ast.AST) -> tuple[ast.Call, ...]:
    """Every call in a function, also in functions in it."""
    return tuple(inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def sends(call: ast.Call) -> bool:
    """Whether a call looks like one that sends a task."""
    return isinstance(call.func, ast.Attribute) and call.func.attr in SENDS


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


def literal(node: ast.expr | None) -> float | None:
    """A number that is written down, also as 60 * 60."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = literal(node.left), literal(node.right)
        return left * right if left is not None and right is not None else None
    return None


def retries(module: Module, function: Function) -> list[ast.Call]:
    """Where a task asks to be retried."""
    return [
        call
        for call in calls_in(function)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "retry"
        and isinstance(call.func.value, (ast.Name, ast.Attribute))
        and (dotted(call.func.value) in ("self", function.name) or dotted(call.func.value).endswith("current_task"))
    ]
