# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that must stay as it is, and how Ansible reaches it."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inventory", help="inventory whose good variables the wrong ones replace", required=True)
    parser.addoption("--machine", help="SCENARIO/HOST, as bin/hosts made it", required=True)


@pytest.fixture(scope="session")
def on_host(pytestconfig: pytest.Config) -> Callable[[str], str]:
    """Runs a script on the host and returns what it printed."""
    scenario, host = pytestconfig.getoption("machine").split("/")
    ssh = ["ssh", "-n", "-F", str(ROOT / ".cache" / scenario / "ssh_config"), host]

    def run(script: str) -> str:
        # Not over standard input: rabbitmqctl would read the rest of the script.
        command = shlex.join(["bash", "-c", script])
        return subprocess.run([*ssh, command], text=True, capture_output=True, check=True).stdout

    return run


@pytest.fixture(scope="session")
def inventory(pytestconfig: pytest.Config) -> str:
    return str(pytestconfig.getoption("inventory"))
