# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment that would work, ways to spoil it, and how Ansible takes that: without a host, or with a real one."""

from __future__ import annotations

import copy
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inventory", help="inventory whose good variables the wrong ones replace (real hosts only)")
    parser.addoption("--machine", help="SCENARIO/HOST, as bin/hosts made it (real hosts only)")


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


# --- without a host ---------------------------------------------------------------------------------------------

#: Every secret of the good deployment; none may ever be printed.
SECRETS = {
    "celery_broker_password": "kept-quiet-broker-51f0",
    "celery_monitor_password": "kept-quiet-monitor-a3c2",
    "celery_result_password": "kept-quiet-result-77be",
    "celery_sentry_dsn": "https://0c0ffee00c0ffee00c0ffee00c0ffee0@errors.example.org/1",
    "rabbitmq_admin_password": "kept-quiet-admin-0d4e",
    "flower_password": "kept-quiet-flower-19aa",
    "bugsink_admin_password": "kept-quiet-bugsink-e5d1",
    "bugsink_secret_key": "9b1f0c52e7d84a6fb3c9215de08a7f64c1d3e95b72a84f06",
    "bugsink_project_key": "7e19c4d2b8a35f60916fd3a27c84be05",
    "bugsink_api_token": "c52d8e7f1a9046b3b7de20f4a8613c95e47f0ad1",
}
VARIABLES = {
    "celery_app": "shop.celery:app",
    "celery_workers": {
        "critical": {"concurrency": 2, "soft_time_limit": 20, "time_limit": 30},
        "default": {"concurrency": 2, "soft_time_limit": 40, "time_limit": 60, "memory_max": "512M"},
    },
    "celery_secret_environment": {"PAYMENT_KEY": "kept-quiet-payment-6b20"},
    "app_source": str(ROOT / "examples/shop"),
    "flower_user": "ops",
    **SECRETS,
}
KINDS = ("broker", "backend", "tracker", "worker", "beat", "monitor")
GROUPS: dict[str, dict[str, list[str]]] = {
    "nowhere": {},
    "one": {kind: ["server"] for kind in KINDS},
    "several": {
        "broker": ["broker1"],
        "backend": ["broker1"],
        "worker": ["worker1", "worker2"],
        "beat": ["worker1"],
        "monitor": ["monitor1"],
        "tracker": ["monitor1"],
    },
    "cluster": {kind: ["node1", "node2", "node3"] if kind == "broker" else ["node1"] for kind in KINDS},
    "replicas": {
        kind: ["redis1", "redis2", "redis3"] if kind in ("broker", "backend") else ["redis1"] for kind in KINDS
    },
}
#: What the module host_facts says of a good host.
FACTS = {
    "changed": False,
    "system": "debian",
    "version": "13",
    "systemd": 257,
    "python_path": "/usr/bin/python3",
    "python": [3, 13, 5],
    "memory": 8 * 1024**3,
    "free": {"/": 40 * 1024**3, "/var": 20 * 1024**3},
    "listening": [{"port": 22, "address": "127.0.0.1", "unit": "ssh.service"}],
}


@dataclass(frozen=True)
class Case:
    """What is wrong, and what must be said of it: the variable, and what to write."""

    said: tuple[str, ...]
    #: Variables, instead of the good ones; and those that are left out.
    values: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    #: Lines as somebody would write them into group_vars.
    text: str = ""
    base: str = "one"
    groups: Mapping[str, list[str]] = field(default_factory=dict)
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    output: str
    asked: set[str]

    @property
    def said(self) -> str:
        return " ".join(self.output.split())


class Trials:
    """Runs of playbooks/preflight.yml against hosts that are nothing but facts."""

    def __init__(self, cache: Path) -> None:
        for groups in GROUPS.values():
            for name, facts in setup(groups).items():
                (cache / name).write_text(json.dumps({"_ansible_facts_gathered": True, **facts}))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            # Both only for speed: facts are there already, and modules go nowhere.
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(cache),
            "ANSIBLE_MODULE_COMPRESSION": "ZIP_STORED",
        }
        self._warm = subprocess.Popen(
            [sys.executable, str(HERE / "warm.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def close(self) -> None:
        self._warm.communicate()

    def run(self, case: Case, place: Path) -> Outcome:
        """What playbooks/preflight.yml says of a case."""
        write(case, place)
        inventory = place / ("nowhere.yml" if case.base == "nowhere" else "inventory")
        return self.play("preflight", inventory, place, *case.arguments)

    def play(self, playbook: str, inventory: Path, place: Path, *arguments: str) -> Outcome:
        """What a playbook says of an inventory."""
        output = place / "output"
        words = [str(output), f"--inventory={inventory}", f"playbooks/{playbook}.yml", *arguments]
        assert self._warm.stdin
        assert self._warm.stdout
        self._warm.stdin.write(json.dumps(words) + "\n")
        self._warm.stdin.flush()
        code = int(self._warm.stdout.readline())
        asked = place / "asked"
        return Outcome(code, output.read_text(), set(asked.read_text().split()) if asked.exists() else set())


def setup(groups: Mapping[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Facts of each host, as Ansible gathers them."""
    names = dict.fromkeys(name for members in groups.values() for name in members)
    return {
        name: {"ansible_default_ipv4": {"address": f"10.0.0.{number}"}, "ansible_hostname": name}
        for number, name in enumerate(names, 1)
    }


def write(case: Case, place: Path) -> None:
    """An inventory, and what its hosts answer."""
    groups = {**GROUPS[case.base], **case.groups}
    hosts: dict[str, dict[str, Any]] = {}
    for number, (name, facts) in enumerate(setup(groups).items(), 1):
        answers = place / f"host{number}"
        answers.mkdir()
        for module, answer in (
            ("setup", {"changed": False, "ansible_facts": facts}),
            ("host_facts", {**FACTS, **case.facts}),
            ("lock", {"changed": False, "taken": False, "holder": {}}),
        ):
            (answers / f"{module}.json").write_text(json.dumps(answer))
        python = place / f"python{number}"
        python.write_text(f'#!/bin/sh\nexec {HERE / "given"} "{answers}" "{place}/asked" "$@"\n')
        python.chmod(0o755)
        hosts[name] = {"ansible_python_interpreter": str(python), **case.hosts.get(name, {})}
    reached = {"ansible_connection": "local", "ansible_become": False}
    tree = {
        "hosts": hosts,
        "vars": reached,
        "children": {group: {"hosts": dict.fromkeys(names)} for group, names in groups.items()},
    }
    variables = {**copy.deepcopy(VARIABLES), **case.values}
    for name in case.without:
        del variables[name]
    directory = place / "inventory" / "group_vars" / "all"
    directory.mkdir(parents=True)
    (place / "inventory" / "hosts.yml").write_text(yaml.safe_dump({"all": tree}))
    (directory / "main.yml").write_text(yaml.safe_dump(variables, sort_keys=False))
    (directory / "zz.yml").write_text(case.text)


@pytest.fixture(scope="session")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    runs = Trials(tmp_path_factory.mktemp("facts"))
    yield runs
    runs.close()


@pytest.fixture
def run(trials: Trials, tmp_path: Path) -> Callable[[Case], Outcome]:
    return lambda case: trials.run(case, tmp_path)
