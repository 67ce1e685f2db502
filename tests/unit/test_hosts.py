# SPDX-License-Identifier: GPL-3.0-or-later
"""What bin/hosts calls things, and what it says of a port that is taken."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import socket
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "bin/hosts"
#: The longest path of a socket, and what ssh appends to it while it opens one.
SOCKET, WHILE_OPENED = 107, len(".0123456789abcdef")


@pytest.fixture(scope="module")
def hosts() -> ModuleType:
    spec = importlib.util.spec_from_loader("bin_hosts", SourceFileLoader("bin_hosts", str(PATH)))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    spec.loader.exec_module(module)
    sys.dont_write_bytecode = writes
    return module


def test_two_checkouts_share_no_name(hosts: ModuleType, tmp_path: Path) -> None:
    one, other = (hosts.Scenario("demo", tmp_path / name / "stack") for name in "ab")
    assert one.label != other.label
    assert one.network != other.network
    assert one.container("demo") != other.container("demo")


def test_a_checkout_has_one_name_by_every_path_to_it(hosts: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    one, other = (hosts.Scenario("demo", tmp_path / name) for name in ("real", "link"))
    assert (one.label, one.network, one.container("a")) == (other.label, other.network, other.container("a"))


def test_two_scenarios_share_no_container(hosts: ModuleType) -> None:
    assert hosts.Scenario("redis").container("two-one") != hosts.Scenario("redis-two").container("one")


def test_names_are_of_what_docker_allows(hosts: ModuleType) -> None:
    for name in (hosts.Scenario("demo").network, hosts.Scenario("demo").container("demo")):
        assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name)


def test_a_control_socket_is_short_enough(hosts: ModuleType) -> None:
    """For every scenario of molecule, and a home directory of 28 characters."""
    inventories = {path.parents[1].name: path for path in (ROOT / "molecule").glob("*/inventory/hosts.yml")}
    assert "sentinel-faults" in inventories
    for scenario, path in inventories.items():
        names = re.findall(r"^ +([a-z0-9]+):$", path.read_text(encoding="utf-8"), re.MULTILINE)
        longest = max((hosts.Scenario(scenario).container(name) for name in names), key=len)
        assert 28 + len("/.ansible/cp/") + len(longest) + WHILE_OPENED <= SOCKET, longest


def test_every_inventory_of_containers_calls_the_socket_like_the_container() -> None:
    """Ansible's own name for it is a hash of the host's name, which is the same in every checkout."""
    found = 0
    for path in [*(ROOT / "molecule").glob("*/*/hosts.yml"), ROOT / "inventories/demo/hosts.yml"]:
        text = path.read_text(encoding="utf-8")
        if "ssh_config" in text:
            found += 1
            assert 'ansible_control_path: "%(directory)s/%%k"' in text, path
    assert found > 1
    molecule = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text(encoding="utf-8"))
    assert molecule["ansible"]["cfg"]["ssh_connection"]["control_path"] == "%(directory)s/%%k"


def test_the_command_names_the_container_of_its_own_checkout(hosts: ModuleType) -> None:
    command = [str(PATH), "container", "--scenario", "demo", "web"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert said == hosts.Scenario("demo", ROOT).container("web")


@pytest.mark.parametrize(
    "said",
    [
        "driver failed programming external connectivity on endpoint a (b): "
        "Bind for 127.0.0.1:35555 failed: port is already allocated",
        "failed to set up container networking: driver failed programming external connectivity on endpoint a (b): "
        "failed to bind host port for 127.0.0.1:35555:172.17.0.2:5555/tcp: address already in use",
        "Error starting userland proxy: listen tcp4 127.0.0.1:35555: bind: address already in use.",
    ],
    ids=["of a container", "of a process", "of a process, as older engines say"],
)
def test_a_port_that_is_taken_is_said_with_the_way_out(
    hosts: ModuleType, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    def docker(*_: str) -> str:
        raise hosts.HostsError(said)

    monkeypatch.setattr(hosts, "docker", docker)
    with pytest.raises(hosts.HostsError, match=r"^port 35555 of this machine is taken.*CELERYOPS_PORTS=") as raised:
        hosts.started("run")
    assert "endpoint" not in str(raised.value)


def test_what_else_keeps_a_container_from_starting_is_said_as_it_is(
    hosts: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def docker(*_: str) -> str:
        raise hosts.HostsError("No such image: celeryops/host:trixie")

    monkeypatch.setattr(hosts, "docker", docker)
    with pytest.raises(hosts.HostsError, match=r"^No such image"):
        hosts.started("run")


def test_only_connections_of_its_own_are_ended(
    hosts: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not those of a scenario whose name begins alike, or of another checkout."""
    mine, others = hosts.Scenario("redis"), [hosts.Scenario("redis-two"), hosts.Scenario("redis", tmp_path)]
    monkeypatch.setenv("ANSIBLE_SSH_CONTROL_PATH_DIR", str(tmp_path))
    ended: list[str] = []
    monkeypatch.setattr(hosts.subprocess, "run", lambda command, **_: ended.extend(command))
    with contextlib.ExitStack() as sockets:
        for scenario in (mine, *others):
            for host in ("one", "two"):
                opened = sockets.enter_context(socket.socket(socket.AF_UNIX))
                opened.bind(str(tmp_path / scenario.container(host)))
        mine.end_connections("two")
        assert [word for word in ended if "ControlPath" in word] == [
            f'ControlPath="{tmp_path / mine.container("two")}"'
        ]
        ended.clear()
        mine.end_connections()
    assert sorted(word for word in ended if "ControlPath" in word) == [
        f'ControlPath="{tmp_path / mine.container(host)}"' for host in ("one", "two")
    ]
