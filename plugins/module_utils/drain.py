# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping workers away: the files that say so, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def queues_of(workers: Mapping[str, Any], entry: str) -> list[str]:
    """The queues that an entry consumes, as the user wrote it or as the plan has it."""
    queues = (workers[entry] or {}).get("queues") or [entry]
    return [queues] if isinstance(queues, str) else [str(name) for name in queues]


def consumers(workers: Mapping[str, Any], queue: str) -> list[str]:
    """The entries that consume a queue."""
    return [str(entry) for entry in workers if queue in queues_of(workers, entry)]


def drain_files(plan: Mapping[str, Any], etc: str, queue: str = "", back: bool | str = False) -> list[dict[str, Any]]:
    """The files that keep a host's workers, or those of one queue, from running; or their absence.

    A host that comes back brings back what was drained of it queue by queue, too.
    """
    here: Mapping[str, Any] = plan["workers"]
    entries = [f"worker-{here[name]['unit']}" for name in (consumers(here, queue) if queue else here)]
    returns = str(back).lower() in ("true", "yes", "1")
    if returns:
        return [
            {"path": f"{etc}/drained/{name}", "state": "absent"} for name in (entries if queue else ["host", *entries])
        ]
    folder = {"path": f"{etc}/drained", "state": "directory"}
    marks = entries if queue else ["host"]
    return [folder, *({"path": f"{etc}/drained/{name}", "content": "", "mode": "0644"} for name in marks)]


def drain_report(result: Mapping[str, Any], check_mode: bool = False) -> str:
    """One sentence from what the units module returned; in a dry run that has not seen the files it goes by."""
    if check_mode:
        return "only the files are shown: whether workers would stop or start follows from them when they are there"
    held, started = list(result.get("held") or []), list(result.get("started") or [])
    parts = []
    if held:
        parts.append(f"drained, nothing runs in {', '.join(held)}; what waits for them stays on the broker")
    if started:
        parts.append(f"{', '.join(started)} consume{'s' if len(started) == 1 else ''} again")
    return "; ".join(parts) or "every worker of this host consumes, as before"
