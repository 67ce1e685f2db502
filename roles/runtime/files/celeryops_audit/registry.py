# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check is, what it finds, and the list of all of them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from celeryops_audit import sources as source
from celeryops_audit.facts import App, Failure, Live, Place, Plan, Task, Worker
from celeryops_audit.sources import Sources

PAGE = "https://github.com/celeryops/celeryops.stack/blob/main/docs/audit.md"


class Severity(StrEnum):
    """How bad it is; the words are those of SARIF's levels."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Evidence(StrEnum):
    """Where the answer comes from."""

    APP = "the loaded application"
    PLAN = "the application and the plan"
    BROKER = "the broker"
    SOURCE = "the source"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that cannot be known."""

    check: str
    sentence: str
    severity: Severity
    decidable: bool
    fix: str = ""
    task: str | None = None
    place: Place | None = None
    unknown: bool = False
    accepted: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether a deployment must not go on."""
        return self.decidable and self.severity is Severity.ERROR and not self.unknown and self.accepted is None


@dataclass(frozen=True)
class Audit:
    """All that the checks may look at."""

    app: App | Failure
    plan: Plan | None = None
    live: Live | None = None
    sources: Sources = field(default_factory=Sources)

    @property
    def loaded(self) -> App:
        if isinstance(self.app, Failure):
            raise TypeError("the application was not loaded")
        return self.app

    @cached_property
    def tasks(self) -> Sequence[Task]:
        return self.loaded.tasks

    def consumers(self, task: Task) -> list[Worker]:
        """The workers that run a task, as far as the plan tells."""
        return self.plan.consumers(task.queue) if self.plan else []

    def hard_limits(self, task: Task) -> list[tuple[float | None, Worker | None]]:
        """A task's hard limit on each worker that runs it; without a plan, its own."""
        return [(task.time_limit or worker.time_limit, worker) for worker in self.consumers(task)] or [
            (task.time_limit, None)
        ]

    def late(self, task: Task) -> bool:
        """Whether a task is acknowledged only when it has ended."""
        consumers = self.consumers(task)
        return task.acks_late and (not consumers or any(worker.delivery != "at_most_once" for worker in consumers))

    def retries(self, task: Task) -> bool | None:
        """Whether a task is ever retried; None where that cannot be seen."""
        if task.autoretry_for:
            return task.retries_later
        body = self.sources.body(task)
        return bool(source.retries(*body)) if body else None

    @cached_property
    def delays(self) -> list[tuple[float | None, str, str | None, Place | None]]:
        """Every delay that is known: seconds where they are, what asks for it, its task, its place."""
        found: list[tuple[float | None, str, str | None, Place | None]] = []
        for task in self.tasks:
            if task.autoretry_for and task.max_retries != 0:
                if task.retry_backoff:
                    # The last retry's delay, as far as the number of retries lets it grow.
                    most = task.retry_backoff * 2 ** min(50, 50 if task.max_retries is None else task.max_retries - 1)
                    found.append((min(task.retry_backoff_max, most), "its retry_backoff", task.name, task.place))
                elif not task.retry_countdown:
                    found.append((task.default_retry_delay, "its default_retry_delay", task.name, task.place))
            body = self.sources.body(task)
            for call in source.retries(*body) if body else ():
                if not any(each.arg in (None, "countdown", "eta") for each in call.keywords):
                    found.append((task.default_retry_delay, "its default_retry_delay", task.name, task.place))
        for module, call in self.sources.calls():
            if not source.sends(call) and not (isinstance(call.func, ast.Attribute) and call.func.attr == "retry"):
                continue
            countdown = source.keyword(call, "countdown")
            if countdown is not None or source.keyword(call, "eta") is not None:
                found.append((source.literal(countdown), "countdown", None, module.at(call)))
        return found


Found = Iterator[Finding]


@dataclass(frozen=True)
class Check:
    """One thing that is looked at."""

    id: str
    title: str
    severity: Severity
    evidence: Evidence
    practice: int | None
    fix: str
    why: str
    read: tuple[str, ...]
    run: Callable[[Check, Audit], Found]
    needs_plan: bool = False
    of_failure: bool = False
    #: The kind of broker that it is about, where it is about one.
    broker: str | None = None
    #: Whether it is never wrong; what only the source says is a hint.
    decidable: bool = True

    @property
    def page(self) -> str:
        return f"{PAGE}#{self.id}"

    def found(
        self,
        sentence: str,
        task: Task | str | None = None,
        place: Place | None = None,
        severity: Severity | None = None,
        decidable: bool | None = None,
        fix: str | None = None,
    ) -> Finding:
        """Something wrong; its place is the task's where no other is given."""
        name = task.name if isinstance(task, Task) else task
        return Finding(
            self.id,
            sentence,
            severity or self.severity,
            self.decidable if decidable is None else decidable,
            fix or self.fix,
            name,
            place or (task.place if isinstance(task, Task) else None),
        )

    def unknown(self, sentence: str, task: Task | str | None = None, place: Place | None = None) -> Finding:
        """Something that cannot be known."""
        return replace(self.found(sentence, task, place), unknown=True, fix="")


CHECKS: dict[str, Check] = {}


def check(
    id: str,
    title: str,
    *,
    severity: Severity,
    evidence: Evidence,
    fix: str,
    why: str,
    read: Sequence[str],
    practice: int | None = None,
    needs_plan: bool = False,
    of_failure: bool = False,
    broker: str | None = None,
    decidable: bool | None = None,
) -> Callable[[Callable[[Check, Audit], Found]], Check]:
    """Register a function as a check."""

    def register(run: Callable[[Check, Audit], Found]) -> Check:
        if id in CHECKS:
            raise ValueError(f"two checks are called {id}")
        made = Check(
            id=id,
            title=title,
            severity=severity,
            evidence=evidence,
            practice=practice,
            fix=fix,
            why=why,
            read=tuple(read),
            run=run,
            needs_plan=needs_plan,
            of_failure=of_failure,
            broker=broker,
            decidable=evidence is not Evidence.SOURCE if decidable is None else decidable,
        )
        CHECKS[id] = made
        return made

    return register


def every_check() -> dict[str, Check]:
    """All checks, by id, in the order of their subjects."""
    from celeryops_audit import checks

    order = checks.load()
    return dict(sorted(CHECKS.items(), key=lambda item: order.index(item[1].run.__module__)))


def run(audit: Audit, chosen: Sequence[Check] | None = None) -> list[Finding]:
    """Ask all checks, or those chosen; what one cannot know is among the answers."""
    findings: list[Finding] = []
    failed = isinstance(audit.app, Failure)
    for each in chosen if chosen is not None else every_check().values():
        if failed:
            findings += each.run(each, audit) if each.of_failure else []
        elif each.broker not in (None, audit.loaded.kind):
            continue
        elif each.needs_plan and audit.plan is None:
            findings.append(each.unknown("it takes the plan of the deployment to know; give --plan"))
        elif each.evidence is Evidence.BROKER and audit.live is None:
            findings.append(each.unknown("the broker was not asked; give --broker"))
        elif each.evidence is Evidence.BROKER and audit.live and audit.live.problem:
            findings.append(each.unknown(audit.live.problem))
        else:
            findings += each.run(each, audit)
    return findings
