# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus: a folder for each check, in it small applications.

`bad*.py` must be found, `near*.py` must not, and of `unknown*.py` it must be said that it is not known. A first line
`# plan: {...}` is the plan, `# live: {...}` what the broker says, `# timeout: 2` the seconds that the import may take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celeryops_audit import loading, registry, sources
from celeryops_audit.facts import App, Failure, Live, Place, Plan, made
from celeryops_audit.registry import Audit, Check, Finding

HERE = Path(__file__).parents[1]
AUDIT = HERE.parents[1] / "roles/runtime/files"
#: These take a process of their own: they end it, or have to be ended.
DEADLY = ("app-not-importable", "app-hangs-at-import")


@dataclass(frozen=True)
class Case:
    """One application of the corpus."""

    check: str
    path: Path

    @property
    def kind(self) -> str:
        return self.path.stem.partition("_")[0]

    @property
    def name(self) -> str:
        return f"{self.check}/{self.path.stem}"

    def pragma(self, name: str) -> Any:
        first = self.path.read_text().partition("\n")[0]
        return json.loads(first.removeprefix(f"# {name}:")) if first.startswith(f"# {name}:") else None


def all_cases() -> list[Case]:
    return [Case(path.parent.name, path) for path in sorted((HERE / "corpus").glob("*/*.py"))]


def collect(wanted: Sequence[Mapping[str, Any]]) -> list[App | Failure]:
    """Load applications: each is a mapping of folder, app and environ."""
    environment = {**os.environ, "PYTHONPATH": f"{AUDIT}:{HERE / 'stubs'}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("SENTRY_DSN", None)
    command = [sys.executable, str(HERE / "auditing/collect.py")]
    given = json.dumps([{"environ": {}, **each} for each in wanted])
    done = subprocess.run(command, env=environment, input=given, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return [_known(json.loads(line)) for line in done.stdout.splitlines()]


def _known(told: Mapping[str, Any]) -> App | Failure:
    if "app" in told:
        return App.of(told["app"])
    at = told["failure"]["place"]
    return Failure(told["failure"]["sentence"], made(Place, at) if at else None)


def audits(cases: Sequence[Case]) -> dict[str, Audit]:
    """What is known of each case."""
    plain = [case for case in cases if case.check not in DEADLY]
    apps = collect([{"folder": str(case.path.parent), "app": f"{case.path.stem}:app"} for case in plain])
    told = dict(zip((case.name for case in plain), apps, strict=True))
    return {case.name: _audit(case, told.get(case.name) or _deadly(case)[0]) for case in cases}


def _audit(case: Case, app: App | Failure) -> Audit:
    plan, live = case.pragma("plan"), case.pragma("live")
    return Audit(
        app,
        None if plan is None else Plan.of(plan),
        None if live is None else Live.of(live),
        sources.read(app) if isinstance(app, App) else sources.Sources(),
    )


def _deadly(case: Case) -> tuple[App | Failure, Live | None]:
    before = Path.cwd()
    os.chdir(case.path.parent)
    try:
        return loading.load(f"{case.path.stem}:app", case.pragma("timeout") or 30)
    finally:
        os.chdir(before)


def failures(audits: Mapping[str, Audit], cases: Sequence[Case], checks: Sequence[Check]) -> list[str]:
    """What the corpus expects and these checks do not say, a sentence each."""
    found = []
    for case in cases:
        answers = registry.run(audits[case.name], checks)
        if problem := failure(case, [each for each in answers if each.check == case.check]):
            found.append(problem)
    return found


def failure(case: Case, answers: Sequence[Finding]) -> str:
    flagged = any(not each.unknown for each in answers)
    unknown = any(each.unknown for each in answers)
    expected = {"bad": (True, unknown), "near": (False, unknown), "unknown": (False, True)}[case.kind]
    said = [each.sentence for each in answers]
    return "" if (flagged, unknown) == expected else f"{case.name}: the check {case.check} said {said}"
