# SPDX-License-Identifier: GPL-3.0-or-later
"""Units run, are what the plan says, and stay up."""

from __future__ import annotations

from typing import Any

import pytest
from verification import expected, parsing
from verification.node import Node


def test_runs_and_will_start_at_boot(node: Node, unit: str) -> None:
    shown = node.at_start.get(unit, {})
    state = (shown.get("ActiveState"), shown.get("UnitFileState"))
    assert state == ("active", "enabled"), f"{unit} on {node.name} is {' and '.join(map(str, state))}"


def test_no_other_celery_unit_runs(node: Node) -> None:
    """Not a worker that was taken out of the declaration, and no second beat."""
    planned = set(expected.services(node.host))
    running = {
        name
        for name, shown in node.at_start.items()
        if name.startswith("celery-") and shown["ActiveState"] == "active" and not name.endswith(".slice")
    }
    assert running <= planned, f"{node.name} runs {', '.join(sorted(running - planned))}, which nobody declared"


@pytest.mark.on("worker")
def test_worker_unit_is_what_the_plan_says(node: Node, worker: dict[str, Any]) -> None:
    shown = node.at_start.get(worker["name"], {})
    differing = [
        f"{name} is {shown.get(name)!r}, planned {wanted!r}"
        for name, wanted in expected.worker_properties(node.host, worker).items()
        if not expected.agrees(name, shown.get(name, ""), wanted)
    ]
    assert not differing, f"{worker['name']} on {node.name}: {'; '.join(differing)}"


@pytest.mark.on("worker")
def test_all_units_of_a_worker_share_its_part_of_the_processor(node: Node, worker: dict[str, Any]) -> None:
    shown = node.at_start.get(worker["slice"], {}).get("CPUWeight")
    assert shown == str(worker["cpu_weight"]), f"{worker['slice']} on {node.name} has CPUWeight {shown}"


def test_units_of_ours_are_closed_to_what_they_do_not_need(node: Node) -> None:
    limits = expected.exposure(node.host)
    found = parsing.exposure(node.output(f"systemd-analyze security --no-pager {' '.join(limits)}")) if limits else {}
    assert set(found) == set(limits)
    wide = [f"{unit}: {score}, at most {limits[unit]}" for unit, score in found.items() if score > limits[unit]]
    assert not wide, f"exposed on {node.name}: {'; '.join(wide)}"


def test_units_of_ours_have_limits(node: Node) -> None:
    endless = [
        f"{unit}: {name}"
        for unit in expected.exposure(node.host)
        for name in ("MemoryMax", "TasksMax", "LimitNOFILE")
        if node.at_start[unit].get(name, "infinity") == "infinity" and not expected.unlimited(node.host, unit, name)
    ]
    assert not endless, f"without a limit on {node.name}: {', '.join(endless)}"


@pytest.mark.on("worker")
def test_worker_was_started_with_the_options_of_the_plan(node: Node, worker: dict[str, Any]) -> None:
    words = parsing.command(node.at_start.get(worker["name"], {}).get("ExecStart", ""))
    given, wanted = parsing.options(words), expected.worker_options(worker)
    differing = {name: given.get(name) for name, value in wanted.items() if given.get(name) != value}
    assert not differing, f"{worker['name']} on {node.name} has {differing}, planned {wanted}"
    assert words[:1] == [f"{node.host['celery_venv']}/bin/python"]


@pytest.mark.on("worker")
def test_a_running_task_is_never_killed_by_a_stop(node: Node, worker: dict[str, Any]) -> None:
    """Whatever the numbers are: systemd waits longer than the longest task may run."""
    stop = parsing.seconds(node.at_start.get(worker["name"], {}).get("TimeoutStopUSec", "0"))
    assert stop > (worker["time_limit"] or 0), (
        f"{worker['name']} gets {stop:.0f} s for tasks of {worker['time_limit']} s"
    )


@pytest.mark.last
def test_nothing_restarted_meanwhile(node: Node) -> None:
    """Also what starts again and again looks active most of the time."""
    before, after = node.at_start, node.units()
    restarted = [
        f"{name}: {before[name][key]} became {after.get(name, {}).get(key)} ({key})"
        for name in expected.services(node.host)
        for key in ("NRestarts", "MainPID")
        if name in before and key in before[name] and before[name][key] != after.get(name, {}).get(key)
    ]
    assert not restarted, f"restarted on {node.name} during the tests: {'; '.join(restarted)}"
