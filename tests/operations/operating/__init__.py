# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of a scenario, and playbooks against them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
STACK, ELSEWHERE = "stack", "elsewhere"
LONGEST = 900


@dataclass(frozen=True)
class Outcome:
    """How a playbook went."""

    code: int
    output: str

    @property
    def said(self) -> str:
        """All of it on one line."""
        return " ".join(self.output.split())

    @property
    def changed(self) -> bool:
        """Whether any playbook changed anything."""
        return re.search(r"changed=[1-9]", self.output) is not None


def local(*command: str, stdin: str = "", check: bool = True) -> Outcome:
    """A command on this machine."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=LONGEST
    )
    assert not check or done.returncode == 0, f"{shlex.join(command)[:200]}: {(done.stdout + done.stderr)[-6000:]}"
    return Outcome(done.returncode, done.stdout + done.stderr)


class Machines:
    """Commands on the machines, and playbooks against them with what changed since the inventory was written."""

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.inventory = ROOT / "molecule" / scenario / "inventory"
        self.changes: dict[str, Any] = {}

    @property
    def variables(self) -> Mapping[str, Any]:
        """What the inventory declares, and what took its place."""
        declared = yaml.safe_load((self.inventory / "group_vars" / "all.yml").read_text(encoding="utf-8"))
        return {**declared, **self.changes}

    def run(self, script: str, host: str = STACK) -> str:
        """What a script on a machine prints; it must succeed."""
        config = ROOT / ".cache" / self.scenario / "ssh_config"
        # As an argument: rabbitmqctl would read the rest of a script that comes over standard input.
        done = subprocess.run(
            ["ssh", "-F", str(config), host, f"bash -euo pipefail -c {shlex.quote(script)}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
        assert done.returncode == 0, f"{host}: {script[:200]}: {done.stdout}{done.stderr}"
        return done.stdout

    def playbook(self, *names: str, check: bool = True, **variables: Any) -> Outcome:
        """Run playbooks of the collection."""
        program = Path(sys.executable).with_name("ansible-playbook")
        extra = json.dumps({**self.changes, **variables})
        return local(str(program), "--inventory", str(self.inventory), *names, "--extra-vars", extra, check=check)

    def refused(self, name: str, *sentence: str, **variables: Any) -> None:
        """The playbook ends with this sentence, shows no secret, and has changed nothing."""
        outcome = self.playbook(name, check=False, **variables)
        assert outcome.code != 0, f"it was accepted: {outcome.output}"
        for part in sentence:
            assert part in outcome.said, outcome.output
        assert not outcome.changed, outcome.output
        assert "Traceback" not in outcome.output
        for variable, secret in {**self.variables, **variables}.items():
            if variable.endswith("_password"):
                assert secret not in outcome.output, f"{variable} is shown"

    def renew(self) -> None:
        """The stack's machine is a new one."""
        declared = yaml.safe_load((self.inventory / "hosts.yml").read_text(encoding="utf-8"))["all"]["vars"]
        local("bin/hosts", "down", "--scenario", self.scenario, STACK)
        local("bin/hosts", "up", "--scenario", self.scenario, "--image", declared["molecule_image"], STACK)
