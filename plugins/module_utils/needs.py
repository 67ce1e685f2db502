# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages that an application on this machine must name, so that Celery can reach its broker and store results."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.releases import choose
from ansible_collections.celeryops.stack.plugins.module_utils.supported import SUPPORTED, requirements_of

#: What the result backends need that an application may configure itself, by the first word of their address.
BACKENDS = {
    "django-db": "django-celery-results", "django-cache": "django-celery-results", "db": "sqlalchemy",
    "redis": "redis", "rediss": "redis", "sentinel": "redis", "mongodb": "pymongo",
}  # fmt: skip
#: What brings such a package besides one whose name holds it, such as flask-sqlalchemy: extras of Celery, and others.
BROUGHT = {
    "redis": {"celery[redis]", "kombu[redis]", "celery-redbeat"},
    "sqlalchemy": {"celery[sqlalchemy]", "alembic", "sqlmodel"},
    "pymongo": {"celery[mongodb]", "mongoengine"},
}
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*(?:[@<>=!~;(#].*)?")


def problems(plan: Mapping[str, Any], source: str, more: Collection[str]) -> list[str]:
    """One sentence for each package that none of the application's requirements names.

    Only where that is certain: what a directory or an address among them brings is not known here.
    """
    listed = [(where, lines) for where, lines in requirements_of(source) if lines]
    names = _names([*(line for _, lines in listed for line in lines), *more])
    if not listed or names is None:
        return []
    where = f"app_source: {listed[0][0]}"
    return [
        f"{where} names no {package}, {why}; write {_pin(package)} into the application's requirements"
        for package, why in _needed(plan, Path(source)).items()
        if not any(package in name or name in BROUGHT.get(package, ()) for name in names)
    ]


def _pin(package: str) -> str:
    return f"{package}=={SUPPORTED[package].highest}" if package in SUPPORTED else "it, with its version,"


def _needed(plan: Mapping[str, Any], source: Path) -> dict[str, str]:
    """The packages, and why."""
    found = {}
    if plan.get("uses_redis"):
        place = "broker" if plan["broker"]["kind"] == "redis" else "result backend"
        found["redis"] = f"by which Celery speaks to the {place}"
    if plan["result_backend"]["kind"] == "application" and source.is_dir():
        told = _backends_of(source)
        if len(told) == 1 and (address := next(iter(told))) and (kind := re.split(r"[+:]", address)[0]) in BACKENDS:
            found.setdefault(BACKENDS[kind], f"which its result backend {kind} needs")
    return found


def _names(lines: Iterable[str]) -> set[str] | None:
    """The packages of requirements, each extra as one of its own; None when one brings what nobody knows."""
    found = set()
    for line in lines:
        match = _LINE.fullmatch(line.strip())
        if not match:
            return None
        name = re.sub(r"[-_.]+", "-", match[1]).lower()
        found |= {name, *(f"{name}[{extra.strip().lower()}]" for extra in (match[2] or "").split(","))}
    return found


@lru_cache
def _backends_of(root: Path) -> frozenset[str | None]:
    """The same for every host."""
    return frozenset(_backends(root))


def _backends(root: Path) -> Iterator[str | None]:
    """Every result backend that the sources name; None for one that is not written there."""
    for name in choose(root).shipped:
        if not name.endswith(".py"):
            continue
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        if "backend" not in text.lower():
            continue
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            for key, value in _settings(node):
                if key.lower().endswith("result_backend"):
                    yield value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _settings(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """What a piece of code sets by name: a variable, an attribute, an argument, an entry of a mapping."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name | ast.Attribute):
                yield target.id if isinstance(target, ast.Name) else target.attr, node.value
            elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                yield str(target.slice.value), node.value
    elif isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for each in node.keywords:
            if each.arg:
                yield "result_backend" if (called, each.arg) == ("Celery", "backend") else each.arg, each.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant):
                yield str(key.value), value
