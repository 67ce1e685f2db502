# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan as tables for a reader."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pprint import pformat
from typing import Any

UNIT_COLUMNS = {
    "unit": "name",
    "node": "node",
    "queues": "queues",
    "delivery": "delivery",
    "pool": "pool",
    "conc.": "concurrency",
    "prefetch": "prefetch_multiplier",
    "soft s": "soft_time_limit",
    "hard s": "time_limit",
    "stop s": "timeout_stop",
    "memory": "memory_max",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of left-aligned columns, two spaces apart."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def cell(key: str, value: Any) -> str:
    """One value as text: lists with commas, bytes as MiB, nothing as a dash."""
    if value is None:
        return "-"
    if key == "memory_max":
        return f"{value // 1024**2}M"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def results_of(backend: Mapping[str, Any]) -> str:
    """Where results are kept."""
    return backend["url"] or ("the application's own" if backend["kind"] == "application" else "-")


def plan_table(plan: Mapping[str, Any]) -> str:
    """The plan of one host: its units, and the broker's queues."""
    rows = [[cell(key, unit[key]) for key in UNIT_COLUMNS.values()] for unit in plan["units"]]
    broker = plan["broker"]
    lines = table(list(UNIT_COLUMNS), rows) if rows else ["no worker runs on this host"]
    lines += ["", f"broker            {broker['url']}", f"result backend    {results_of(plan['result_backend'])}"]
    if broker["kind"] == "redis":
        lines += [
            f"queues            {', '.join(broker['queues'])} (lists, exchange '{broker['exchange']}', direct)",
            "priorities        0, 3, 6, 9; 0 comes first",
            f"dead letters      {broker['dead_letter_queue']}, for what no queue takes",
            f"redelivery after  {broker['visibility_timeout']} s without an acknowledgement",
        ]
    else:
        lines += [
            f"queues            {', '.join(broker['queues'])} (quorum, exchange '{broker['exchange']}', topic)",
            f"dead letters      {broker['dead_letter_queue']}",
            f"consumer time-out {broker['consumer_timeout'] // 1000} s",
        ]
    lines += [f"beat              {plan['beat']['host'] or '-'}"]
    return "\n".join(lines)


def producer_settings(plan: Mapping[str, Any]) -> str:
    """The settings of an application elsewhere that sends tasks, as the Python module that Celery reads."""
    plain = json.loads(json.dumps(plan["producer"]))  # Ansible's own kinds of mappings are not broken into lines
    return "\n".join(f"{key} = {pformat(value, width=110, sort_dicts=False)}" for key, value in plain.items())
