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


def watching(units: Iterable[Mapping[str, Any]], common: list[str]) -> list[dict[str, Any]]:
    """Each unit with the files whose change makes it stale: its own template, and the common ones."""
    return [{"name": unit["name"], "watch": [f"/etc/systemd/system/{unit['template']}", *common]} for unit in units]


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
