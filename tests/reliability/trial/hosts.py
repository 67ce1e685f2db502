# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of the scenario: commands on them, playbooks against them, and their power."""

from __future__ import annotations

import json
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
PUT = CACHE / "variables.json"  # what was put in the place of the inventory's
LONGEST = 900  # seconds that a command may take
CUT = """table inet cut {{
  chain in {{ type filter hook input priority 0; ip saddr {{ {addresses} }} drop; }}
  chain out {{ type filter hook output priority 0; ip daddr {{ {addresses} }} drop; }}
}}
"""
SILENCE = """table inet cut {
  chain in { type filter hook input priority 0; policy drop; }
  chain out { type filter hook output priority 0; policy drop; }
}
"""
_DECLARED: dict[str, Any] = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))["all"]
BROKERS: tuple[str, ...] = tuple(_DECLARED["children"]["broker"]["hosts"])
#: Where results are kept, if they are.
BACKENDS: tuple[str, ...] = tuple(_DECLARED["children"].get("backend", {}).get("hosts", ()))
WORKERS: tuple[str, ...] = tuple(_DECLARED["children"]["worker"]["hosts"])
EVERYONE: tuple[str, ...] = tuple(
    dict.fromkeys(host for group in _DECLARED["children"].values() for host in group["hosts"])
)
#: The kind of broker, its unit and the name of its process.
KIND: str = _DECLARED["vars"].get("celery_broker", "rabbitmq")
SERVICE, PROCESS = {
    "rabbitmq": ("rabbitmq-server.service", "beam.smp"),
    "redis": ("redis-server.service", "redis-server"),
}[KIND]


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


@cache
def container(host: str) -> str:
    """The name of its container."""
    return local("bin/hosts", "container", "--scenario", SCENARIO, host).strip()


def run(host: str, *command: str, stdin: str | None = None) -> str:
    """A command on a machine."""
    return docker("exec", "--interactive", container(host), *command, stdin=stdin)


def shell(host: str, script: str) -> str:
    """A script on a machine."""
    return run(host, "sh", "-eus", stdin=script)


def address(host: str) -> str:
    """Where a machine is reached from here."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", form, container(host)).strip()


def playbook(name: str, *arguments: str) -> None:
    """Run one of the collection's playbooks against the machines."""
    program = Path(sys.executable).with_name("ansible-playbook")
    changed = ["--extra-vars", f"@{PUT}"] if PUT.exists() else []
    command = [str(program), "--inventory", str(INVENTORY), name, *changed, *arguments]
    local(*command, environment={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"})


@cache
def variables() -> Mapping[str, Any]:
    """What the inventory declares for all hosts, and what took its place."""
    declared: dict[str, Any] = {**_DECLARED["vars"]}
    for file in sorted((INVENTORY / "group_vars").glob("**/*.yml")):
        declared |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return {**declared, **_put()}


def put(values: Mapping[str, Any]) -> None:
    """Let these, and those before, take the place of what the inventory declares."""
    PUT.write_text(json.dumps({**_put(), **values}), encoding="utf-8")
    variables.cache_clear()


def _put() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PUT.read_text(encoding="utf-8")) if PUT.exists() else {}
    return found


def broker() -> str:
    """The host whose broker takes the tasks now."""
    if len(BROKERS) == 1:
        return BROKERS[0]
    password, by_address = variables()["redis_sentinel_password"], {address(host): host for host in BROKERS}
    tls = "--tls --cacert /etc/redis/tls/ca.pem " if variables().get("celery_tls") else ""
    ask = f"REDISCLI_AUTH={password} redis-cli {tls}-p 26379 --user sentinel --no-auth-warning "
    for host in BROKERS:
        try:
            said = shell(host, f"{ask} sentinel get-master-addr-by-name celery").split()
        except HostError:  # it is switched off, or starts
            continue
        if said and said[0] in by_address:
            return by_address[said[0]]
    raise HostError("no Sentinel knows the primary")


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
        run(host, "nft", "-f", "-", stdin=SILENCE)
    docker("kill", *map(container, hosts))


def power_on(*hosts: str) -> None:
    """Start the machines again, and wait until they have booted; each must have its address still."""
    image = docker("inspect", "--format", "{{.Config.Image}}", container(hosts[0])).strip()
    local("bin/hosts", "up", "--scenario", SCENARIO, "--image", image, *EVERYONE)


def result_backend() -> str:
    """The URL of the result backend, as a worker has it."""
    credentials = json.loads(run(WORKERS[0], "cat", "/etc/celery/credentials/celery.json"))
    return str(credentials["result_backend"])


def rabbitmq(host: str, *command: str) -> str:
    """What rabbitmqctl says on a broker."""
    return run(host, "rabbitmqctl", "--quiet", *command)
