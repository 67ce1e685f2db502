#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the trials of tests/reliability measured: bench/RELIABILITY.md, which docs/generate.py writes.

tests/support/measured.py FILE    print the tables of one run's rows
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tested
from trial.row import Row

HEAD = (
    "fault",
    "times",
    "accepted",
    "done",
    "lost",
    "ran twice",
    "cut off, run again",
    "the fault, s",
    "recovered after, s",
    "all done after, s",
    "lowest consumers",
    "longest publish, s",
    "longest without a start, s",
)


@dataclass(frozen=True)
class Section:
    """One setting of hosts, and the parts of bin/test that strike it."""

    title: str
    hosts: str
    parts: tuple[str, ...]


SECTIONS = {
    "reliability": Section(
        "# No accepted task is lost", "2 workers' hosts and 1 broker", ("reliability", "reliability-long")
    ),
    "cluster": Section(
        "# No accepted task is lost by three brokers",
        "2 workers' hosts and 3 brokers over TLS",
        ("cluster-faults", "cluster-rolls"),
    ),
    "result-faults": Section(
        "# No accepted task is lost when the result backend fails",
        "2 workers' hosts, 1 broker and 1 Redis for results",
        ("result-faults",),
    ),
    "redis-faults": Section(
        "# No accepted task is lost with Redis as broker", "2 workers' hosts and 1 Redis", ("redis-faults",)
    ),
    "sentinel-faults": Section(
        "# No accepted task is lost with three Redis and Sentinel",
        "2 workers' hosts and 3 Redis with Sentinel",
        ("sentinel-faults",),
    ),
}
#: Where a scenario's part of the page begins; what stands before the first is that of the scenario reliability.
BEGIN = "<!-- scenario: {} -->\n\n"
SUMS = ("strikes", "accepted", "done", "lost", "twice", "cut_off")


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table."""
    refused = f" ({row.refused} refused)" if row.refused else ""
    away = " (broker away)" if row.unknown > 1 else ""
    return (
        row.title,
        str(row.strikes),
        f"{row.accepted:,}{refused}",
        f"{row.done:,}",
        f"**{row.lost}**" if row.lost else "0",
        str(row.twice),
        str(row.cut_off),
        f"{row.lasted:.1f}",
        f"{row.recovered:.1f}",
        f"{row.settled:.1f}",
        f"{row.lowest} of {row.consumers}{away}",
        f"{row.stall:.1f}",
        f"{row.gap:.1f}" if row.gap else "",
    )


def table(rows: Iterable[Row]) -> str:
    """All of them, and their sum."""
    rows = list(rows)
    lines: list[Sequence[str]] = [HEAD, ["---"] * len(HEAD), *map(cells, rows)]
    sums = [sum(getattr(row, name) for row in rows) for name in SUMS]
    lines.append(["together", *(f"{value:,}" for value in sums), "", "", "", "", "", ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def loaded(file: Path) -> list[tuple[str, Row]]:
    """The rows of a run, each with its side."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [(str(line.pop("side")), Row(**line)) for line in lines]


def circumstances(section: Section, saved: Mapping[str, tested.Result]) -> str:
    """When, of which commit, where and with what a section was measured."""
    results = {part: saved[part] for part in section.parts}
    first = results[section.parts[0]]
    if len({result.commit for result in results.values()}) == 1:
        commit = f"commit {first.commit}"
    else:
        commit = "commits " + " and ".join(f"{result.commit} (`{part}`)" for part, result in results.items())
    return (
        f"{max(result.date for result in results.values())}, {commit}. {first.machine}, for all machines (containers), "
        f"load and controller together.\n{section.hosts}; {', '.join(first.versions)}."
    )


def page(rows: Sequence[tuple[str, Row]], where: str, title: str) -> str:
    """One scenario's part of bench/RELIABILITY.md."""
    parts = [
        title,
        "Written by `bin/test --save` and `bin/test full --save`. A producer sends tasks all the time, short and long, "
        "delayed and retried; a task is accepted when the broker has confirmed it. Each task writes down that it began "
        "and that it ended. Meanwhile the fault strikes, again and again until enough tasks were accepted.",
        where,
        "- **lost**: accepted and never ended, or dead-lettered.\n"
        "- **ran twice**: ended more than once; **cut off, run again**: began, was cut off, and began again.\n"
        "- **recovered after**: from the end of the fault until every queue has all its consumers, every unit is "
        "active, and a new task in each queue is done; the longest of all times.\n"
        "- **all done after**: from the last task that was sent until every accepted one is done.\n"
        "- **lowest consumers**: as the broker counts them during the fault and the recovery.\n"
        "- **longest publish**: until it was confirmed; **longest without a start**: of any task, on one of the worker "
        "hosts, while tasks were sent all the time.",
    ]
    for side, title in (("deployed", "As deployed"), ("control", "The control: Celery's defaults")):
        if chosen := [row for name, row in rows if name == side]:
            parts += [f"## {title}", table(chosen)]
    return "\n\n".join(parts) + "\n"


def merged(whole: str, scenario: str, part: str) -> str:
    """The whole page with one scenario's part replaced, or added."""
    first, *others = re.split(r"^<!-- scenario: ([\w-]+) -->\n\n", whole, flags=re.MULTILINE)
    parts = {"reliability": first, **dict(zip(others[::2], others[1::2], strict=True)), scenario: part}
    return "\n".join(
        (BEGIN.format(name) if name != "reliability" else "") + text.rstrip("\n") + "\n" for name, text in parts.items()
    )


def whole(text: str) -> str:
    """The page, with what each section's parts measured when they last passed; a section waits for all of its parts."""
    saved = tested.results()
    for name, section in SECTIONS.items():
        files = {part: tested.ROWS / f"{part}.jsonl" for part in section.parts}
        passed = [part for part in files if part in saved and saved[part].result == "passed" and files[part].exists()]
        if len(passed) == len(files):
            rows = [row for file in files.values() for row in loaded(file)]
            text = merged(text, name, page(rows, circumstances(section, saved), section.title))
    return text


if __name__ == "__main__":
    print(page(loaded(Path(sys.argv[1])), "", "# What was measured"), end="")
