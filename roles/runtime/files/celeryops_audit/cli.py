# SPDX-License-Identifier: GPL-3.0-or-later
"""The command.

    python -m celeryops_audit shop.celery:app [--plan FILE] [--accept FILE] [--broker] [--format table|json|sarif]

Run it in the application's own environment and folder. Exit code 0: nothing blocks. 1: something does. 2: it could not
be run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celeryops_audit import accepting, loading, registry, report, sources
from celeryops_audit.accepting import Acceptance, AcceptProblem
from celeryops_audit.facts import App, Plan, PlanProblem

NOTHING, BLOCKED, NOT_RUN = 0, 1, 2
#: Seconds that an import may be given.
LONGEST = 86_400
_APP = re.compile(r"^[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?$")


class UsageProblem(Exception):
    """It cannot be run like this; the text is a sentence."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m celeryops_audit", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("app", help="the Celery application, as module:attribute")
    parser.add_argument(
        "--plan", metavar="FILE", help="what will run it, as JSON: {workers: {NAME: {queues, pool, ...}}}"
    )
    parser.add_argument("--accept", metavar="FILE", help="JSON or TOML with a list of {id, task, reason} named accept")
    parser.add_argument("--request", metavar="FILE", help="both in one JSON, as {plan, accept}; - is standard input")
    parser.add_argument("--broker", action="store_true", help="ask the application's broker as well")
    parser.add_argument("--format", choices=sorted(report.FORMATS), default="table")
    parser.add_argument("--output", metavar="FILE", help="write there instead of standard output")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds the import may take (60)")
    return parser


def audit(
    app: str, plan: Plan | None, accept: Sequence[Acceptance], broker: bool = False, timeout: float = 60.0
) -> report.Report:
    """Load, look, and report."""
    begin = time.monotonic()
    loaded, live = loading.load(app, timeout, broker)
    read = sources.read(loaded) if isinstance(loaded, App) else sources.Sources()
    checks = registry.every_check()
    findings = registry.run(registry.Audit(loaded, plan, live, read))
    findings, unused = accepting.apply(findings, accept)
    return report.Report(
        app,
        findings,
        checks,
        tasks=len(loaded.tasks) if isinstance(loaded, App) else 0,
        seconds=time.monotonic() - begin,
        import_seconds=loaded.import_seconds if isinstance(loaded, App) else 0.0,
        unused=unused,
    )


def _file(name: str) -> Any:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return tomllib.loads(text) if name.endswith(".toml") else json.loads(text)
    except OSError as problem:
        raise UsageProblem(f"{name} cannot be read: {problem.strerror}") from None
    except ValueError as problem:
        raise UsageProblem(f"{name} is not {'TOML' if name.endswith('.toml') else 'JSON'}: {problem}") from None


def _write(name: str, text: str) -> None:
    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as problem:
        raise UsageProblem(f"{name} cannot be written: {problem.strerror}") from None


def _accepted(given: Any) -> Any:
    """The list, wherever in the file it stands: pyproject.toml keeps it in [tool.celeryops_audit]."""
    if isinstance(given, Mapping):
        tool = given.get("tool")
        given = tool.get("celeryops_audit", given) if isinstance(tool, Mapping) else given
        return given.get("accept", []) if isinstance(given, Mapping) else given
    return given


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    options = _parser().parse_args(argv)
    try:
        if not _APP.match(options.app):
            raise UsageProblem(f"{options.app!r} is not module:attribute; write it like shop.celery:app")
        if not 0 < options.timeout <= LONGEST:
            raise UsageProblem(f"--timeout is {options.timeout:g}; write a number of seconds, {LONGEST} at most")
        request = _file(options.request) if options.request else {}
        if not isinstance(request, Mapping):
            raise UsageProblem(f"{options.request} is no mapping; write {{plan, accept}}")
        plan = _file(options.plan) if options.plan else request.get("plan")
        accept = _accepted(_file(options.accept)) if options.accept else request.get("accept") or []
        made = audit(
            options.app,
            Plan.of(plan) if plan is not None else None,
            accepting.read(accept, registry.every_check()),
            options.broker,
            options.timeout,
        )
        text = report.FORMATS[options.format](made) + "\n"
        if options.output:
            _write(options.output, text)
        else:
            sys.stdout.write(text)
            sys.stdout.flush()
    except (UsageProblem, PlanProblem, AcceptProblem) as problem:
        print(f"celeryops_audit: {problem}", file=sys.stderr)
        return NOT_RUN
    except BrokenPipeError:  # who reads the table has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BLOCKED if made.blocking else NOTHING
