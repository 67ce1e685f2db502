# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings that somebody answers for: by id, for one task or all, with a reason."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celeryops_audit.registry import Finding

KEYS = ("id", "task", "reason")


class AcceptProblem(ValueError):
    """An acceptance that says nothing or too much; the text is a sentence."""


@dataclass(frozen=True)
class Acceptance:
    """One entry of the list."""

    id: str
    reason: str
    task: str | None = None

    def covers(self, finding: Finding) -> bool:
        return finding.check == self.id and self.task in (None, finding.task)

    def __str__(self) -> str:
        return f"{self.id} ({self.task})" if self.task else self.id


def read(given: Any, known: Collection[str]) -> list[Acceptance]:
    """Check and read the list."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise AcceptProblem("what is accepted must be a list of {id, task, reason}, of which task may be left out")
    return [_one(entry, number, known) for number, entry in enumerate(given, 1)]


def _one(entry: Any, number: int, known: Collection[str]) -> Acceptance:
    if not isinstance(entry, Mapping):
        raise AcceptProblem(f"acceptance {number} is {entry!r}; write {{id: ..., reason: ...}}")
    if stranger := next((str(key) for key in entry if key not in KEYS), None):
        raise AcceptProblem(f"acceptance {number} has the unknown key {stranger!r}; the keys are {', '.join(KEYS)}")
    name, reason = str(entry.get("id") or ""), str(entry.get("reason") or "").strip()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise AcceptProblem(
            f"acceptance {number} has the id {name!r}, which is no check's"
            + (f"; did you mean {near[0]!r}?" if near else "; docs/audit.md lists them")
        )
    if not reason:
        raise AcceptProblem(f"acceptance {number} ({name}) has no reason; write why it is right here")
    task = entry.get("task")
    return Acceptance(name, reason, str(task) if task else None)


def apply(findings: Sequence[Finding], accepted: Sequence[Acceptance]) -> tuple[list[Finding], list[Acceptance]]:
    """The findings, with the reason where one is accepted; and the acceptances that nothing was found for."""
    unused = [each for each in accepted if not any(each.covers(finding) for finding in findings)]
    done = []
    for finding in findings:
        reason = next((each.reason for each in accepted if each.covers(finding)), None)
        done.append(replace(finding, accepted=reason) if reason else finding)
    return done, unused
