# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of a scenario, as they are left by one test to the next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from operating import Machines


@pytest.fixture(scope="module")
def machines(request: pytest.FixtureRequest) -> Machines:
    """Those of the scenario that has the name of the module."""
    return Machines(request.path.stem.removeprefix("test_"))


@pytest.fixture(scope="module")
def celery_run(machines: Machines) -> Callable[[str], str]:
    """Runs a program in the application's environment and returns what it prints."""

    def run(program: str) -> str:
        return machines.run(f"celery-run python - <<'END'\n{program}\nEND\n")

    return run
