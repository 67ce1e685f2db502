# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that must stay as it is, and how Ansible reaches it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PLAYBOOK = [str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "site.yml")]
#: Everything that a deployment would change: packages, users, units, and the files where it puts things.
SNAPSHOT = r"""
dpkg-query --show --showformat '${Package} ${Version} ${Status}\n' | sha256sum
sha256sum /etc/passwd /etc/group
find /etc /opt /srv /usr/local /var/lib/{celery,rabbitmq,redis,bugsink,private} \
    -printf '%p %y %m %u %s %T@\n' 2>/dev/null | sort | sha256sum
systemctl list-units --all --plain --no-legend --type=service,target,socket | awk '{print $1, $3}' | sort | sha256sum
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inventory", help="inventory whose good variables the wrong ones replace", required=True)
    parser.addoption("--machine", help="SCENARIO/HOST, as bin/hosts made it", required=True)


@pytest.fixture(scope="session")
def on_host(pytestconfig: pytest.Config) -> Callable[[str], str]:
    """Runs a script on the host and returns what it printed."""
    scenario, host = pytestconfig.getoption("machine").split("/")
    ssh = ["ssh", "-F", str(ROOT / ".cache" / scenario / "ssh_config"), host, "bash", "-s"]

    def run(script: str) -> str:
        return subprocess.run(ssh, input=script, text=True, capture_output=True, check=True).stdout

    return run


@pytest.fixture(scope="session")
def inventory(pytestconfig: pytest.Config) -> str:
    return str(pytestconfig.getoption("inventory"))


@pytest.fixture
def snapshot() -> str:
    """The script that prints all that a deployment would change."""
    return SNAPSHOT


@pytest.fixture
def refuses(on_host: Callable[[str], str], inventory: str) -> Callable[..., None]:
    """site.yml says this of these variables, and the host stays as it is."""

    def refuses(variables: dict[str, Any], sentence: list[str], secret: str = "") -> None:
        before = on_host(SNAPSHOT)
        extra = ["--inventory", inventory, "--extra-vars", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_CONFIG": os.environ.get("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))}
        command = [*PLAYBOOK, *extra]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
        output = done.stdout + done.stderr
        assert done.returncode != 0, f"it was accepted:\n{output}"
        said = " ".join(output.split())
        for part in sentence:
            assert part in said, output
        assert "Traceback" not in output
        assert not secret or secret not in output
        assert "changed=0" in output
        assert on_host(SNAPSHOT) == before, "the host was changed"

    return refuses
