# SPDX-License-Identifier: GPL-3.0-or-later
"""What was found, for a reader, for a program, and for a code host (SARIF 2.1.0)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote

from celeryops_audit.accepting import Acceptance
from celeryops_audit.registry import Check, Finding, Severity

ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True)
class Report:
    """The whole answer about one application."""

    app: str
    findings: Sequence[Finding]
    checks: Mapping[str, Check]
    tasks: int = 0
    seconds: float = 0.0
    import_seconds: float = 0.0
    unused: Sequence[Acceptance] = ()
    root: str = field(default_factory=os.getcwd)

    @property
    def blocking(self) -> list[Finding]:
        return [each for each in self.findings if each.blocks]

    @property
    def others(self) -> list[Finding]:
        """What is wrong and does not block, the worse first."""
        listed = [each for each in self.findings if not (each.blocks or each.unknown or each.accepted)]
        return sorted(listed, key=lambda each: ORDER[each.severity])

    @property
    def accepted(self) -> list[Finding]:
        return [each for each in self.findings if each.accepted and not each.unknown]

    @property
    def unknown(self) -> list[Finding]:
        return [each for each in self.findings if each.unknown]

    def shown(self, file: str) -> str:
        """A path as a reader in the application's folder would write it."""
        if file.startswith(self.root + os.sep):
            return file[len(self.root) + 1 :]
        return file.rpartition("site-packages" + os.sep)[2]

    def place(self, finding: Finding) -> str:
        return f"{self.shown(finding.place.file)}:{finding.place.line}" if finding.place else ""

    def word(self, finding: Finding) -> str:
        return "refused" if finding.blocks else "hint" if not finding.decidable else finding.severity.value

    def summary(self) -> str:
        counts = [
            (len(self.blocking), "to be mended first"),
            (len(self.others), "to look at"),
            (len(self.accepted), "accepted"),
            (len(self.unknown), "not known"),
        ]
        said = ", ".join(f"{count} {what}" for count, what in counts if count) or "nothing found"
        return f"{self.app}, {self.tasks} tasks, {len(self.checks)} checks: {said}"


def sentences(report: Report, findings: Sequence[Finding]) -> list[str]:
    """A sentence each, with id, place and remedy."""
    lines = []
    for each in findings:
        place = report.place(each)
        lines.append(f"[{each.check}] {place + ': ' if place else ''}{each.sentence}; {each.fix}")
    return lines


#: Findings of one check that a terminal is shown; the other formats have all.
MOST = 10


def table(report: Report) -> str:
    """For a terminal: what is of one check stands together."""
    lines = [report.summary()]
    for word, listed in groups(report, [*report.blocking, *report.others]):
        check = report.checks[listed[0].check]
        lines += ["", f"{word:8} {check.id}: {check.title}"]
        for each in listed[:MOST]:
            lines += [f"         {report.place(each) or '-'}  {each.sentence}"]
        if len(listed) > MOST:
            lines += [f"         and {len(listed) - MOST} more"]
        lines += [f"         Fix: {fix}" for fix in dict.fromkeys(each.fix for each in listed)]
    if report.accepted:
        lines += ["", "accepted"]
        lines += [f"         {each.check}: {each.sentence}. Because: {each.accepted}" for each in report.accepted]
    if report.unused:
        lines += ["", "accepted, but nothing like it was found (remove it)"]
        lines += [f"         {each}" for each in report.unused]
    reasons: dict[str, list[str]] = {}
    for each in report.unknown:
        reasons.setdefault(each.sentence, []).append(each.check)
    if reasons:
        lines += ["", "not known"]
        lines += [f"         {', '.join(checks)}: {sentence}" for sentence, checks in reasons.items()]
    return "\n".join(lines)


def groups(report: Report, findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    """Findings of the same check and weight."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for each in findings:
        found.setdefault((report.word(each), each.check), []).append(each)
    return [(word, listed) for (word, _check), listed in found.items()]


def capital(text: str) -> str:
    """A sentence's beginning, where it does not begin with a name."""
    first = text.split(" ", 1)[0]
    return text if any(sign in first for sign in "._:") or not first.islower() else text[:1].upper() + text[1:]


def as_json(report: Report) -> str:
    """For a program."""
    listed = [
        {
            **{key: value for key, value in asdict(each).items() if key != "place"},
            "file": report.shown(each.place.file) if each.place else None,
            "line": each.place.line if each.place else None,
            "blocks": each.blocks,
            "practice": report.checks[each.check].practice,
            "page": report.checks[each.check].page,
        }
        for each in report.findings
    ]
    whole = {
        "app": report.app,
        "summary": report.summary(),
        "tasks": report.tasks,
        "checks": len(report.checks),
        "seconds": round(report.seconds, 3),
        "import_seconds": round(report.import_seconds, 3),
        "blocking": sentences(report, report.blocking),
        "warnings": sentences(report, report.others),
        "findings": listed,
        "unused_acceptances": [asdict(each) for each in report.unused],
        "table": table(report),
    }
    return json.dumps(whole, indent=2)


def sarif(report: Report) -> str:
    """For a code host: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html."""
    numbers = {name: number for number, name in enumerate(report.checks)}
    rules = [
        {
            "id": each.id,
            "name": "".join(part.capitalize() for part in each.id.split("-")),
            "shortDescription": {"text": each.title},
            "fullDescription": {"text": each.why},
            "help": {"text": each.fix or each.why},
            "helpUri": each.page,
            "defaultConfiguration": {"level": each.severity.value},
            "properties": {"decidable": each.decidable, "evidence": each.evidence.value},
        }
        for each in report.checks.values()
    ]
    run = {
        "tool": {"driver": {"name": "celeryops_audit", "informationUri": PROJECT, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(report, each, numbers[each.check]) for each in report.findings],
    }
    whole = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(whole, indent=2)


PROJECT = "https://github.com/celeryops/celeryops.stack"


def _result(report: Report, finding: Finding, number: int) -> dict[str, Any]:
    text = f"{capital(finding.sentence)}." + (f" Fix: {finding.fix}." if finding.fix else "")
    made: dict[str, Any] = {
        "ruleId": finding.check,
        "ruleIndex": number,
        # What is not known is no failure, and not passed either.
        "kind": "open" if finding.unknown else "fail",
        "level": "none" if finding.unknown else finding.severity.value,
        "message": {"text": text},
        "partialFingerprints": {"finding/v1": f"{finding.check}:{finding.task or ''}:{finding.sentence}"},
        "properties": {"blocks": finding.blocks, "decidable": finding.decidable, "task": finding.task},
    }
    if finding.place:
        path = report.shown(finding.place.file)
        where = {"artifactLocation": {"uri": quote(path)}, "region": {"startLine": max(finding.place.line, 1)}}
        made["locations"] = [{"physicalLocation": where}]
    if finding.accepted:
        made["suppressions"] = [{"kind": "external", "status": "accepted", "justification": finding.accepted}]
    return made


FORMATS = {"table": table, "json": as_json, "sarif": sarif}
