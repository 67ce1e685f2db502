# SPDX-License-Identifier: GPL-3.0-or-later
"""Two checkouts on one engine, with a machine of the same name each, touch each other in nothing.

pytest tests/integration/test_checkouts.py     (about 15 seconds; makes the engine and the image where they are missing)
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = HOST = "demo"
IMAGE = "celeryops/host-ready:trixie"
#: Holds the engine until its input ends.
ENGINE = f"""
set -euo pipefail
. bin/lib.sh
{{ ensure_engine; ensure_image {IMAGE}; }} >&2
echo "${{docker[*]}}"
read -r || true
"""


class Checkout:
    """What machines need of one: the commands, and an inventory."""

    def __init__(self, root: Path, engine: str) -> None:
        self.root = root
        self.config = root / ".cache" / SCENARIO / "ssh_config"
        self.environment = {**os.environ, "DOCKER": engine, "ANSIBLE_CONFIG": str(root / "ansible.cfg")}
        for name in ("bin", "inventories/demo"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns(".secrets", ".tls", "group_vars"))
        shutil.copy(ROOT / "ansible.cfg", root)

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )

    def run(self, *command: str) -> str:
        done = self.attempt(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def hosts(self, command: str, *arguments: str) -> str:
        return self.run("bin/hosts", command, "--scenario", SCENARIO, *arguments)

    def up(self, *arguments: str) -> str:
        return self.hosts("up", "--image", IMAGE, HOST, *arguments)

    def ssh(self, script: str) -> str:
        return self.run("ssh", "-n", "-F", str(self.config), HOST, script)

    def ansible(self, script: str) -> str:
        """By a connection that stays open."""
        program = str(Path(sys.executable).with_name("ansible"))
        return self.run(program, HOST, "--one-line", "--module-name", "ansible.builtin.raw", "--args", script)

    def files(self) -> dict[str, bytes]:
        """Keys, and how the machine is reached."""
        return {str(path): path.read_bytes() for path in (self.root / ".cache").glob("**/*") if path.is_file()}

    @property
    def control_socket(self) -> Path:
        return Path.home() / ".ansible" / "cp" / self.hosts("container", HOST)


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with subprocess.Popen(
        ["bash", "-c", ENGINE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        yield run.stdout.readline().strip()
        run.communicate()


@pytest.fixture
def checkouts(engine: str, tmp_path: Path) -> Iterator[list[Checkout]]:
    made = [Checkout(tmp_path / name, engine) for name in ("a", "b")]
    yield made
    for checkout in made:
        checkout.hosts("down")


def test_each_has_its_own_machine_and_removes_only_that(checkouts: list[Checkout]) -> None:
    one, other = checkouts
    for checkout in checkouts:
        checkout.up()
        checkout.ssh(f"echo {checkout.root} > /root/whose")
    for checkout in checkouts:  # the second one's command finds the first one's connection open
        assert str(checkout.root) in checkout.ansible("cat /root/whose")
    assert one.control_socket.is_socket()
    assert other.control_socket.is_socket()
    before = one.files()

    assert "removed 1 hosts" in other.hosts("down")

    assert one.files() == before
    assert one.ssh("cat /root/whose") == str(one.root)
    assert one.control_socket.is_socket()
    assert str(one.root) in one.ansible("cat /root/whose")
    assert not other.config.exists()

    assert "created" not in one.up()


def test_a_port_of_the_other_one_is_refused_in_a_sentence(checkouts: list[Checkout]) -> None:
    one, other = checkouts
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    publish = ("--publish", f"{HOST}:{port}:22")
    one.up(*publish)
    refused = other.attempt("bin/hosts", "up", "--scenario", SCENARIO, "--image", IMAGE, HOST, *publish)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: port {port} of this machine is taken")
    assert "CELERYOPS_PORTS=" in refused.stderr
    assert "created" in other.up(), "nothing was left"
    one.ssh("true")


def test_a_port_of_another_process_is_refused_in_a_sentence(checkouts: list[Checkout]) -> None:
    one, _ = checkouts
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ("bin/hosts", "up", "--scenario", SCENARIO, "--image", IMAGE, HOST, "--publish", f"{HOST}:{port}:22")
        refused = one.attempt(*command)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: port {port} of this machine is taken")


def test_one_host_is_made_anew_and_its_neighbour_stays(checkouts: list[Checkout]) -> None:
    one, _ = checkouts
    one.up("neighbour")
    for host in (HOST, "neighbour"):
        one.run("ssh", "-n", "-F", str(one.config), host, "touch /root/old")
    one.ansible("true")
    one.hosts("down", HOST)
    one.up("neighbour")
    assert "No such file" in one.ansible("ls /root/old 2>&1 || true")
    one.run("ssh", "-n", "-F", str(one.config), "neighbour", "ls /root/old")
