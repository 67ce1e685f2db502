# SPDX-License-Identifier: GPL-3.0-or-later
"""One fault, struck again and again while tasks flow, and the row that comes of it."""

from __future__ import annotations

import math
import re
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from trial import hosts
from trial.faults import Fault, Scene
from trial.hosts import WORKERS, HostError, await_true
from trial.ledger import Account, Ledger, gap, replayed, settle
from trial.load import KINDS, RESULTS, Stream, held_in
from trial.sides import Side

#: How long may it take until all is well again, until everything is done (what is late is not lost), and until a quiet
#: queue counts as settled.
RECOVERY_SECONDS, REST_SECONDS, QUIET_SECONDS = 150, 240, 12
#: A fault strikes again after so many accepted tasks.
TASKS_A_STRIKE = 500
ORDINARY = re.compile(r"Task \S+\[\S+\] (received|succeeded|retry)|^\S+ \d+ \S+ \S+ \w+\[\d+\]: [ -]")


@dataclass
class Row:
    """What was measured."""

    fault: str
    title: str
    strikes: int = 0
    accepted: int = 0
    refused: int = 0
    done: int = 0
    lost: int = 0
    twice: int = 0
    cut_off: int = 0
    lasted: float = 0.0  # seconds of the fault itself, the longest
    recovered: float = 0.0  # seconds from its end until all consumers are back and a new task is done, the longest
    settled: float = 0.0  # seconds from the last accepted task until every one is done
    consumers: int = 0
    lowest: int = 0
    short: dict[str, int] = field(default_factory=dict)  # queues that lacked consumers, and how many were left
    unknown: float = 0.0  # seconds that the broker could not be asked
    stall: float = 0.0
    gap: float = 0.0  # seconds that a worker host began no task, the longest
    refusals: list[str] = field(default_factory=list)  # what the refused ones were told
    repeated: list[str] = field(default_factory=list)  # the stories of some that ran twice
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Trial:
    """The machines, the load and the watch of one row."""

    def __init__(self, side: Side, rate: float) -> None:
        self.side = side
        self.stream = Stream(side.producer, rate, RESULTS if hosts.BACKENDS else KINDS)
        queues = [*side.queues, *([side.dead_letter] if side.dead_letter else [])]
        self.watch = side.watch(queues)
        self.ledger = Ledger(WORKERS, self.read)
        self.scene = Scene(self.stream, self.ledger)
        self.faults: list[tuple[float, float]] = []  # from when until when something was wrong

    def read(self, host: str, offset: int) -> str:
        """What the tasks on a host wrote from that byte on."""
        file = self.side.effects
        return hosts.shell(host, f"[ ! -e {file} ] || tail -c +{offset + 1} {file}")

    def forget(self) -> None:
        """Nothing of an earlier row counts."""
        for host in WORKERS:
            hosts.run(host, "rm", "-f", self.side.effects)

    # --- conditions --------------------------------------------------------------------------------------------------

    def complete(self) -> bool:
        """Every queue has its consumers, and no others."""
        return self.watch.consumers == self.side.queues

    def units_active(self) -> bool:
        """systemd has nothing to complain about."""
        states = [hosts.shell(host, f"systemctl is-active {' '.join(units)} || true") for host, units in self._units()]
        return all(state == "active" for state in " ".join(states).split())

    def _units(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(self.side.units.items())

    def probe(self, seconds: float) -> None:
        """A new task in every queue is done, and by the right version of the application."""
        probes: dict[str, str] = {}

        def sent() -> bool:
            for task in self.side.probes:
                if task not in probes and (task_id := self.stream.send(task, 0.0)):
                    probes[task] = task_id
            return len(probes) == len(self.side.probes)

        await_true("tasks of every queue are accepted", sent, seconds)
        for task_id in probes.values():
            self.scene.await_end(task_id, seconds)
        if version := self.scene.version:
            old = {e.version for e in self.ledger.effects if e.id in probes.values() and e.version != version}
            if old:
                raise RuntimeError(f"tasks were done by version {old}, not {version}")

    def recover(self, seconds: float) -> None:
        """Wait until all is as it was before."""
        await_true(f"the consumers are {dict(self.side.queues)}", self.complete, seconds)
        await_true("all units are active", self.units_active, seconds, pause=0.5)
        self.probe(seconds)

    def flow(self, tasks: int) -> None:
        """Wait until so many tasks were accepted in all."""
        seconds = RECOVERY_SECONDS + 2 * TASKS_A_STRIKE / self.stream.rate
        await_true(f"{tasks} tasks are accepted", lambda: len(self.stream.accepted) >= tasks, seconds)

    def rest(self) -> None:
        """Wait until everything that was accepted is done, or nothing happens any more."""
        end = time.monotonic() + REST_SECONDS
        quiet_since = time.monotonic()
        while not self.stream.accepted <= self.ledger.ended and time.monotonic() < end:
            waiting = any(self.watch.messages.values()) if self.watch.consumers is not None else True
            if self.ledger.update() or waiting:
                quiet_since = time.monotonic()
            if self.side.dead_letter is None and time.monotonic() - quiet_since > QUIET_SECONDS:
                return  # these are lost; where nothing may be lost the wait is as long as it may be
            time.sleep(0.5)

    def story(self, task_id: str) -> str:
        """What a task wrote down, in the order of time."""
        effects = sorted((e for e in self.ledger.effects if e.id == task_id), key=lambda effect: effect.at)
        lines = [f"{e.event} (try {e.retries}, process {e.pid} on {e.host}, {_clock(e.at)})" for e in effects]
        return ", ".join(lines) or "never started"

    # --- what is said when it went wrong -----------------------------------------------------------------------------

    def explain(self, account: Account) -> str:
        """Everything that helps to find what is missing."""
        parts = [f"queues: {self.watch.messages}, consumers: {self.watch.consumers}"]
        if self.side.dead_letter and self.watch.messages.get(self.side.dead_letter):
            parts.append(f"dead-lettered: {held_in(self.side.connection(), self.side.dead_letter)}")
        parts += [f"missing {task_id}: {self.story(task_id)}" for task_id in account.missing[:20]]
        for host, units in self._units():
            pattern = "celery-worker*.service" if self.side.dead_letter else units[0]
            try:
                states = hosts.run(host, "systemctl", "list-units", "--all", "--plain", "--no-legend", pattern)
                journal = hosts.run(host, "journalctl", "--no-pager", "--lines=2000", f"--unit={pattern}")
            except HostError as error:
                states, journal = str(error), ""
            parts += [f"--- {host}", states, *notable(journal)]
        return "\n".join(parts)


def notable(journal: str, lines: int = 20) -> list[str]:
    """The last lines that are not about ordinary tasks."""
    return [line for line in journal.splitlines() if not ORDINARY.search(line)][-lines:]


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S.%f}"[:-4]


def run(side: Side, name: str, fault: Fault, tasks: int, rate: float) -> Row:
    """Strike until that many tasks were accepted, let everything come to rest, and count."""
    trial = Trial(side, rate)
    row = Row(name, fault.title, consumers=sum(side.queues.values()))
    account = Account(0, (), (), 0)
    with trial.watch.watching():
        trial.forget()
        try:
            trial.recover(RECOVERY_SECONDS)  # from whatever was before
        except (HostError, TimeoutError, RuntimeError) as error:
            row.problems += [f"not ready for the fault: {error}", trial.explain(account)]
            return row
        began = time.time()
        with trial.stream.flowing():
            try:
                while not row.strikes or len(trial.stream.accepted) < tasks:
                    _strike(trial, fault, row)
                    trial.flow(min(tasks, row.strikes * TASKS_A_STRIKE))
            except (HostError, TimeoutError, RuntimeError) as error:
                row.problems.append(f"strike {row.strikes}: {error}")
        stopped, ended = time.monotonic(), time.time()
        trial.rest()
        row.settled = time.monotonic() - stopped
        trial.ledger.update()
        account = settle(trial.stream.accepted, trial.ledger.effects)
        _fill(row, trial, account, fault)
        row.gap = gap(trial.ledger.effects, WORKERS, began, ended)
        if row.problems:
            row.problems.append(trial.explain(account))
    return row


def _strike(trial: Trial, fault: Fault, row: Row) -> None:
    if fault.prepare:
        fault.prepare(trial.scene)
        trial.recover(RECOVERY_SECONDS)
    row.strikes += 1
    trial.watch.counting = True
    start, began = time.monotonic(), time.time()
    trial.faults.append((began, math.inf))  # where it is not recovered from
    fault.strike(trial.scene)
    over = time.monotonic()
    trial.recover(RECOVERY_SECONDS)
    trial.faults[-1] = began, time.time()
    row.lasted = max(row.lasted, over - start)
    row.recovered = max(row.recovered, time.monotonic() - over)
    trial.watch.counting = False


def _fill(row: Row, trial: Trial, account: Account, fault: Fault) -> None:
    dead = set(held_in(trial.side.connection(), trial.side.dead_letter)) if trial.side.dead_letter else set()
    dead &= trial.stream.accepted
    lost = set(account.missing) | dead
    row.accepted, row.refused, row.done, row.lost = account.accepted, len(trial.stream.refused), account.done, len(lost)
    row.refusals = sorted(set(trial.stream.refused))[:5]
    row.repeated = [f"{task_id}: {trial.story(task_id)}" for task_id in account.twice[:5]]
    row.twice, row.cut_off, row.stall = len(account.twice), account.cut_off, trial.stream.longest
    row.lowest, row.unknown = trial.watch.lowest_total or 0, trial.watch.unknown
    row.short = {q: n for q, n in trial.watch.lowest.items() if n < trial.side.queues[q]}
    if lost and trial.side.dead_letter:
        row.problems.append(
            f"{len(lost)} of {account.accepted} accepted tasks are lost, {len(dead)} of them dead-lettered"
        )
    if again := replayed(trial.stream.accepted, trial.ledger.effects, trial.faults):
        stories = "; ".join(f"{task_id}: {trial.story(task_id)}" for task_id in again[:5])
        row.problems.append(f"{len(again)} tasks ran again though they had ended before the fault: {stories}")
    if fault.capacity and row.short:
        row.problems.append(f"queues had fewer consumers than {dict(trial.side.queues)}: {row.short}")
    if fault.gentle and (row.twice or row.cut_off):
        row.problems.append(f"nothing broke, but {row.twice} tasks ran twice and {row.cut_off} were cut off")
