# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks wrote down, and what it comes to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Effect:
    """One line of a task: it started, ended, or asked to be tried again."""

    host: str
    id: str
    retries: int
    event: str
    at: float
    pid: int
    version: str
    seconds: float  # how long it was going to take


@dataclass(frozen=True)
class Account:
    """What became of the accepted tasks."""

    accepted: int
    missing: tuple[str, ...]  # never ended
    twice: tuple[str, ...]  # ended more than once
    cut_off: int  # started again after a start that never ended

    @property
    def done(self) -> int:
        """Those that ended."""
        return self.accepted - len(self.missing)


def parse(host: str, text: str) -> Iterator[Effect]:
    """The lines of one host."""
    for line in text.splitlines():
        yield Effect(host=host, **json.loads(line))


def settle(accepted: Collection[str], effects: Iterable[Effect]) -> Account:
    """Compare what was accepted with what was done; a task that was not accepted does not count."""
    wanted = set(accepted)
    starts: Counter[tuple[str, int]] = Counter()
    stops: Counter[tuple[str, int]] = Counter()
    ends: Counter[str] = Counter()
    for effect in effects:
        if effect.id not in wanted:
            continue
        if effect.event == "start":
            starts[effect.id, effect.retries] += 1
        else:
            stops[effect.id, effect.retries] += 1
            ends[effect.id] += effect.event == "end"
    again = {task for (task, retries), count in starts.items() if count > 1 and count > stops[task, retries]}
    return Account(
        accepted=len(wanted),
        missing=tuple(sorted(task for task in wanted if not ends[task])),
        twice=tuple(sorted(task for task, count in ends.items() if count > 1)),
        cut_off=len(again),
    )


#: Seconds within which the broker has heard, and keeps, that a task is done.
SETTLED = 2.0


def replayed(
    accepted: Collection[str], effects: Iterable[Effect], faults: Collection[tuple[float, float]]
) -> list[str]:
    """Tasks that had ended, while all was well, before a fault, and began again after it.

    What ended during a fault, from its begin until all was recovered, may not have been acknowledged: that is allowed.
    """
    wanted, ended, again = set(accepted), dict[str, float](), set[str]()
    for effect in sorted(effects, key=lambda effect: effect.at):
        if effect.id not in wanted:
            continue
        if effect.event == "start" and effect.id in ended:
            again |= {effect.id for begin, _ in faults if ended[effect.id] < begin <= effect.at}
        elif effect.event == "end" and not any(begin - SETTLED <= effect.at <= over for begin, over in faults):
            ended.setdefault(effect.id, effect.at)
    return sorted(again)


def gap(effects: Iterable[Effect], hosts: Iterable[str], since: float, until: float) -> float:
    """The longest time, in seconds, that one of these hosts began no task, although there were always some."""
    longest = 0.0
    effects = list(effects)
    for host in hosts:
        began = sorted(e.at for e in effects if e.host == host and e.event == "start" and since <= e.at <= until)
        moments = [since, *began, until]
        longest = max([longest, *(after - before for before, after in pairwise(moments))])
    return longest


class Ledger:
    """The effects of all hosts, read as they grow."""

    def __init__(self, hosts: Iterable[str], read: Callable[[str, int], str]) -> None:
        """``read`` returns what a host's file holds from that byte on."""
        self._read = read
        self._read_until = dict.fromkeys(hosts, 0)
        self._running: dict[str, Effect] = {}
        self.effects: list[Effect] = []
        self.ended: set[str] = set()

    def update(self) -> list[Effect]:
        """What is new; a line that is still being written waits for the next time."""
        new: list[Effect] = []
        for host, offset in self._read_until.items():
            text = self._read(host, offset)
            whole = text[: text.rfind("\n") + 1]
            self._read_until[host] = offset + len(whole.encode())
            new += parse(host, whole)
        for effect in new:
            if effect.event == "start":
                self._running[effect.id] = effect
            else:
                self._running.pop(effect.id, None)
            if effect.event == "end":
                self.ended.add(effect.id)
        self.effects += new
        return new

    def running(self, now: float, at_least: float) -> list[Effect]:
        """Starts without an end that should go on for at least these seconds, if their process lives."""
        return [effect for effect in self._running.values() if effect.at + effect.seconds > now + at_least]
