# SPDX-License-Identifier: GPL-3.0-or-later
"""Results, and the flows that need them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from celeryops_audit import sources
from celeryops_audit.registry import Audit, Check, Evidence, Found, Severity, check
from celeryops_audit.sources import Module

CHORDS = ("celery.chord", "celery.canvas.chord")


@check(
    "chord-without-backend",
    "A chord is used, but there is no result backend",
    severity=Severity.ERROR,
    evidence=Evidence.SOURCE,
    practice=15,
    fix="set result_backend (with celeryops.stack: celery_result_backend: redis)",
    why="A chord's last task starts when the results of all others are there. Without a place for results, calling it "
    "raises NotImplementedError. Without a plan, where the application names no backend at all, this is a hint: the "
    "deployment's environment may bring one.",
    read=["https://docs.celeryq.dev/en/stable/userguide/canvas.html#important-notes"],
    decidable=True,  # it is Celery's own chord, by its import
)
def chord_without_backend(check: Check, audit: Audit) -> Found:
    if audit.loaded.backend != "disabled":
        return
    certain = audit.plan is not None or not audit.loaded.backend_unset
    for module, call in audit.sources.calls():
        if module.meaning(call.func) in CHORDS:
            yield check.found(
                "a chord is used here, but the application has no result backend",
                place=module.at(call),
                decidable=certain and call not in _prepared(module),
            )


def _prepared(module: Module) -> Iterator[ast.Call]:
    """Calls where somebody has thought of that: has asked for a backend before, or expects the error."""
    for node in module.nodes:
        asks = isinstance(node, (ast.If, ast.IfExp)) and "backend" in ast.unparse(node.test).lower()
        expects = isinstance(node, ast.Try) and any(
            not each.type or "NotImplementedError" in ast.unparse(each.type) for each in node.handlers
        )
        if asks or expects:
            yield from sources.calls_in(node)


@check(
    "results-kept-for-ever",
    "Results are never deleted",
    severity=Severity.WARNING,
    evidence=Evidence.APP,
    fix="set result_expires to what somebody may still ask for, such as 86400; ignore_result=True where nobody asks",
    why="Every task leaves a key that stays. A Redis that is full refuses the next write, or evicts what is still "
    "needed.",
    read=["https://docs.celeryq.dev/en/stable/userguide/configuration.html#result-expires"],
)
def results_kept_for_ever(check: Check, audit: Audit) -> Found:
    app = audit.loaded
    if app.backend not in ("disabled", "rpc") and not app.conf.get("result_expires"):
        yield check.found("result_expires is empty, so results are kept for ever", place=app.place)
