# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows as a page."""

from __future__ import annotations

import os
import platform
import re
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
        f"{row.lowest} of {row.consumers}{away}",
        f"{row.stall:.1f}",
    )


def table(rows: Iterable[Row]) -> str:
    """All of them, and their sum."""
    rows = list(rows)
    lines: list[Sequence[str]] = [HEAD, ["---"] * len(HEAD), *map(cells, rows)]
    sums = [sum(getattr(row, name) for row in rows) for name in SUMS]
    lines.append(["together", *(f"{value:,}" for value in sums), "", "", "", ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def circumstances(commit: str) -> str:
    """When, where and with what this was measured."""
    models = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    memory = re.findall(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    broker = hosts.run(hosts.BROKER, "rabbitmqctl", "--quiet", "version").strip()
    python = "/opt/celery/app/current/venv/bin/python"
    celery = hosts.run(hosts.WORKERS[0], python, "-c", "import celery; print(celery.__version__)").strip()
    system = hosts.shell(hosts.BROKER, '. /etc/os-release && echo "$PRETTY_NAME"').strip()
    machine = f"{os.cpu_count()} x {models[0] if models else platform.machine()}"
    size = f"{int(memory[0]) / 2**20 if memory else 0:.0f} GiB of memory"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}. {machine}, {size}, for all machines (containers), load and "
        f"controller together.\nTwo worker hosts and one broker host, {system}; Celery {celery}, RabbitMQ {broker}."
    )
