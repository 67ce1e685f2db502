# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows as a page."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from trial import hosts
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
TITLES = {
    "reliability": "# No accepted task is lost",
    "cluster": "# No accepted task is lost by three brokers",
    "result-faults": "# No accepted task is lost when the result backend fails",
    "redis-faults": "# No accepted task is lost with Redis as broker",
    "sentinel-faults": "# No accepted task is lost with three Redis and Sentinel",
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


def circumstances(commit: str) -> str:
    """When, where and with what this was measured."""
    models = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    memory = re.findall(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    versions = {"rabbitmq": "echo RabbitMQ $(rabbitmqctl --quiet version)", "redis": "redis-server --version"}
    broker = hosts.shell(hosts.BROKERS[0], versions[hosts.KIND]).strip().split(" sha=")[0]
    python = "/opt/celery/app/current/venv/bin/python"
    celery = hosts.run(hosts.WORKERS[0], python, "-c", "import celery; print(celery.__version__)").strip()
    system = hosts.shell(hosts.BROKERS[0], '. /etc/os-release && echo "$PRETTY_NAME"').strip()
    machine = f"{os.cpu_count()} x {models[0] if models else platform.machine()}"
    size = f"{int(memory[0]) / 2**20 if memory else 0:.0f} GiB of memory"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}. {machine}, {size}, for all machines (containers), load and "
        "controller together.\n"
        f"{len(hosts.WORKERS)} workers' and {len(hosts.BROKERS)} brokers' hosts, {system}; Celery {celery}, {broker}."
    )


def page(rows: Sequence[tuple[str, Row]], where: str, title: str = TITLES["reliability"]) -> str:
    """One scenario's part of bench/RELIABILITY.md."""
    parts = [
        title,
        "Written by `bench/reliability --save`. A producer sends tasks all the time, short and long, delayed and "
        "retried; a task is accepted when the broker has confirmed it. Each task writes down that it began and that it "
        "ended. Meanwhile the fault strikes, again and again until enough tasks were accepted.",
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


def main(file: str, commit: str, whole: str, save: str = "") -> None:
    """Print the page of a file of rows, or put it into the whole page."""
    lines = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    rows = [(str(line.pop("side")), Row(**line)) for line in lines]
    text = page(rows, circumstances(commit), TITLES.get(hosts.SCENARIO, TITLES["reliability"]))
    print(text, end="")
    if save:
        path = Path(whole)
        path.write_text(merged(path.read_text(encoding="utf-8"), hosts.SCENARIO, text), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
