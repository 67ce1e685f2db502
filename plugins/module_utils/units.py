# SPDX-License-Identifier: GPL-3.0-or-later
"""From the plan's units to files and to what restarts them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def each_file(specs: Iterable[Mapping[str, Any]], path: str, template: str) -> list[dict[str, Any]]:
    """One file for each spec: its path by the spec's own keys, its content by the template, which sees ``item``."""
    return [
        {"path": path.format(**spec), "template": template, "mode": "0644", "vars": {"item": dict(spec)}}
        for spec in specs
    ]


def watching(units: Iterable[Mapping[str, Any]], common: list[str], drained: str) -> list[dict[str, Any]]:
    """Each worker's unit with what makes it stale, what takes its place meanwhile, and what keeps it stopped.

    Its own template and the common files make it stale; a file in the directory ``drained`` keeps it, or all units of
    the host, stopped.
    """
    return [
        {
            "name": unit["name"],
            "twin": unit["twin"],
            "watch": [f"/etc/systemd/system/{unit['template']}", *common],
            "hold": [f"{drained}/host", f"{drained}/{unit['marker']}"],
        }
        for unit in units
    ]


def as_texts(environment: Mapping[str, Any]) -> dict[str, str]:
    """An environment as processes take it."""
    return {name: str(value) for name, value in environment.items()}


def unit_lines(options: Mapping[str, Any]) -> str:
    """systemd's ``Key=value`` lines: a list becomes several lines, a boolean yes or no."""

    def text(value: Any) -> str:
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

    return "\n".join(
        f"{key}={text(value)}"
        for key, values in sorted(options.items())
        for value in (values if isinstance(values, (list, tuple)) else [values])
    )
