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
)
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
    )


def table(rows: Iterable[Row]) -> str:
    """All of them, and their sum."""
    rows = list(rows)
    lines: list[Sequence[str]] = [HEAD, ["---"] * len(HEAD), *map(cells, rows)]
    sums = [sum(getattr(row, name) for row in rows) for name in SUMS]
    lines.append(["together", *(f"{value:,}" for value in sums), "", "", "", "", ""])
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
        f"controller together.\nTwo worker hosts, {len(hosts.BROKERS)} of the broker, {system}; "
        f"Celery {celery}, {broker}."
    )


def page(rows: Sequence[tuple[str, Row]], where: str) -> str:
    """bench/RELIABILITY.md."""
    parts = [
        "# No accepted task is lost",
        "Written by `bench/reliability --save`. A producer sends tasks all the time, short and long, delayed and "
        "retried; a task is accepted when the broker has confirmed it. Each task writes down that it began and that it "
        "ended. Meanwhile the fault strikes, again and again until enough tasks were accepted.",
        where,
        "- **lost**: accepted and never ended, or dead-lettered.\n"
        "- **ran twice**: ended more than once; **cut off, run again**: began, was cut off, and began again.\n"
        "- **recovered after**: from the end of the fault until every queue has all its consumers, every unit is "
        "active, and a new task in each queue is done; the longest of all times.\n"
        "- **all done after**: from the last task that was sent until every accepted one is done.\n"
        "- **lowest consumers**: as the broker counts them during the fault and the recovery.",
    ]
    for side, title in (("deployed", "As deployed"), ("control", "The control: Celery's defaults")):
        if chosen := [row for name, row in rows if name == side]:
            parts += [f"## {title}", table(chosen)]
    return "\n\n".join(parts) + "\n"


def main(file: str, commit: str) -> None:
    """Print the page of a file of rows."""
    lines = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    rows = [(str(line.pop("side")), Row(**line)) for line in lines]
    print(page(rows, circumstances(commit)), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
