# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tasks, which faults, and where the rows go."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trial import row, sides
from trial.faults import FAULTS, Fault
from trial.row import Row
from trial.sides import Side


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tasks", type=int, default=1000, help="accepted tasks a fault, at least (1000)")
    parser.addoption("--control-tasks", type=int, default=200, help="the same with Celery's defaults (200)")
    parser.addoption("--rate", type=float, default=40.0, help="tasks a second (40)")
    parser.addoption("--fault", action="append", choices=[*FAULTS], help="only this one; may be repeated")
    parser.addoption("--rows", type=Path, help="write the rows into this file, a line of JSON each")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the file anew."""
    if file := config.getoption("rows"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("", encoding="utf-8")


@pytest.fixture(scope="session")
def deployed() -> Iterator[Side]:
    """What site.yml deployed."""
    side = sides.deployed()
    yield side
    side.producer.close()


@pytest.fixture(scope="session")
def control() -> Iterator[Side]:
    """Celery at its defaults."""
    with sides.control() as side:
        yield side
        side.producer.close()


@pytest.fixture
def strike(pytestconfig: pytest.Config) -> Callable[[Side, str, Fault], Row]:
    """Runs one fault, shows its row and keeps it."""

    def strike(side: Side, name: str, fault: Fault) -> Row:
        tasks = pytestconfig.getoption("tasks" if side.dead_letter else "control_tasks")
        result = row.run(side, name, fault, tasks, pytestconfig.getoption("rate"))
        if file := pytestconfig.getoption("rows"):
            with file.open("a", encoding="utf-8") as rows:
                rows.write(json.dumps({"side": side.name, **result.as_dict()}) + "\n")
        return result

    return strike
