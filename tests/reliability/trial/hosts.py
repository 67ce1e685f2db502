# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of the scenario: commands on them, playbooks against them, and their power."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
SCENARIO = os.environ.get("TRIAL_SCENARIO", "reliability")
INVENTORY = ROOT / "molecule" / SCENARIO / "inventory"
CACHE = ROOT / ".cache" / SCENARIO
LONGEST = 900  # seconds that a command may take
GROUPS = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))["all"]["children"]
BROKERS, WORKERS = (tuple(map(str, GROUPS[group]["hosts"])) for group in ("broker", "worker"))
BROKER = BROKERS[0]
EVERYONE = tuple(dict.fromkeys(str(host) for group in GROUPS.values() for host in group["hosts"]))
HERE = "here"
CUT = """table inet cut {{
  chain in {{ type filter hook input priority 0; ip saddr {{ {addresses} }} drop; }}
  chain out {{ type filter hook output priority 0; ip daddr {{ {addresses} }} drop; }}
}}
"""


class HostError(Exception):
    """A command that failed on a machine, or here."""


def await_true(what: str, condition: Callable[[], object], seconds: float, pause: float = 0.2) -> None:
    """Wait for it, for at most these seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


def local(*command: str, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What a command here prints; it must succeed."""
    every = {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(
            command,
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=every,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{shlex.join(command)[:300]}: not done after {LONGEST} s") from error
    if done.returncode:
        raise HostError(f"{shlex.join(command)[:300]}: {(done.stdout + done.stderr).strip()[-4000:]}")
    return done.stdout


def docker(*arguments: str, stdin: str | None = None) -> str:
    """The container engine, as bin/hosts calls it."""
    return local(*shlex.split(os.environ.get("DOCKER", "docker")), *arguments, stdin=stdin)


def run(host: str, *command: str, stdin: str | None = None) -> str:
    """A command on a machine."""
    return docker("exec", "--interactive", f"{SCENARIO}-{host}", *command, stdin=stdin)


def shell(host: str, script: str) -> str:
    """A script on a machine."""
    return run(host, "sh", "-eus", stdin=script)


def address(host: str) -> str:
    """Where a machine is reached from here, or where it reaches us."""
    if host == HERE:
        form = "{{(index .IPAM.Config 0).Gateway}}"
        return docker("network", "inspect", "--format", form, f"celeryops-{SCENARIO}").strip()
    form = f'{{{{(index .NetworkSettings.Networks "celeryops-{SCENARIO}").IPAddress}}}}'
    return docker("inspect", "--format", form, f"{SCENARIO}-{host}").strip()


def playbook(name: str, *arguments: str) -> None:
    """Run one of the collection's playbooks against the machines."""
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), "--inventory", str(INVENTORY), name, *arguments]
    local(*command, environment={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"})


@cache
def variables() -> Mapping[str, Any]:
    """What the inventory declares for all hosts."""
    declared: dict[str, Any] = {}
    for file in sorted((INVENTORY / "group_vars").glob("**/*.yml")):
        declared |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return declared


# --- processes --------------------------------------------------------------------------------------------------------


def main_process(host: str, pid: int) -> int | None:
    """The main process of the worker that this process belongs to, which is systemd's own child; None: it is gone."""
    parent = shell(host, f"ps -o ppid= -p {pid} || true").strip()
    return pid if parent == "1" else int(parent) if parent else None


def is_there(host: str, pid: int) -> bool:
    """Whether the process lives (a zombie does not)."""
    return shell(host, f"ps -o state= -p {pid} || true").strip() not in ("", "Z")


def signal(host: str, name: str, pid: int) -> None:
    """Send a signal; the process must be there."""
    run(host, "kill", "-s", name, str(pid))


# --- network and power ------------------------------------------------------------------------------------------------


def cut(host: str, *others: str) -> None:
    """From now on every packet between it and these is lost without a word."""
    run(host, "nft", "-f", "-", stdin=CUT.format(addresses=", ".join(map(address, others))))


def mend(host: str) -> None:
    """The packets arrive again."""
    run(host, "nft", "delete", "table", "inet", "cut")


def power_off(*hosts: str) -> None:
    """Pull the plug: nobody hears that the machines go."""
    for host in hosts:
        cut(host, HERE, *(other for other in EVERYONE if other != host))
    docker("kill", *(f"{SCENARIO}-{host}" for host in hosts))


def power_on(*hosts: str) -> None:
    """Start the machines again, and wait until they have booted; each must have its address still."""
    image = docker("inspect", "--format", "{{.Config.Image}}", f"{SCENARIO}-{hosts[0]}").strip()
    local("bin/hosts", "up", "--scenario", SCENARIO, "--image", image, *EVERYONE)


def rabbitmq(host: str, *command: str) -> str:
    """What rabbitmqctl says on a broker."""
    return run(host, "rabbitmqctl", "--quiet", *command)
