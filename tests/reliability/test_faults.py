# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever goes wrong: a task that the broker accepted is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from trial.faults import FAULTS, Fault
from trial.row import Row
from trial.sides import Side

Strike = Callable[[Side, str, Fault], Row]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each fault that was asked for."""
    if "name" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("fault") or [*FAULTS]
        metafunc.parametrize(
            "name", [pytest.param(name, marks=[pytest.mark.long] * FAULTS[name].long) for name in chosen]
        )


def test_nothing_is_lost(deployed: Side, strike: Strike, name: str) -> None:
    row = strike(deployed, name, FAULTS[name])
    if row.problems:
        pytest.fail("\n".join(row.problems), pytrace=False)


def test_celerys_defaults_lose_tasks(
    request: pytest.FixtureRequest, strike: Strike, pytestconfig: pytest.Config
) -> None:
    """The control: a harness that sees no loss here would see none above either."""
    chosen = pytestconfig.getoption("fault") or [*FAULTS]
    shown = [name for name in chosen if FAULTS[name].control]
    if not shown:
        pytest.skip("none of these faults is one that Celery's defaults lose tasks in")
    control: Side = request.getfixturevalue("control")  # only now, as it stops the deployed workers
    rows = [strike(control, name, FAULTS[name]) for name in shown]
    assert sum(row.lost for row in rows) > 0
