# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to one host: commands, programs of ours with their input, and its ports."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import ssl
import subprocess
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import testinfra

from verification import expected, parsing
from verification.facts import Host
from verification.talking import Place
from verification.waiting import poll

LOCAL = ("local", "ansible.builtin.local")
PROPERTIES = (
    "Id",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NRestarts",
    "MainPID",
    "Result",
    "ExecStart",
    "Transient",
    "CPUWeight",
    "MemoryMax",
    "TasksMax",
    "LimitNOFILE",
)


class Node:
    """One host of the deployment."""

    def __init__(self, host: Host, scratch: Path) -> None:
        self.host = host
        self.name = host.name
        way = host.connection
        self.local = way["kind"] in LOCAL
        # One connection for all commands; what Ansible says about its own control socket comes first and wins.
        self._options = f"{way['args']} -o ControlMaster=auto -o ControlPersist=60s -o ControlPath={scratch}/%C"
        if way["private_key"]:
            self._options += f" -i {shlex.quote(way['private_key'])}"
        place = f"{way['user']}@{way['address']}" if way["user"] else way["address"]
        self._destination = [*(["-p", str(way["port"])] if way["port"] else []), place]
        self.shell: Any = self._shell(sudo=False)
        self._sudo = "" if self.output("id -u").strip() == "0" else "sudo -n "
        if self._sudo:
            self.shell = self._shell(sudo=True)
        self._tunnels: list[subprocess.Popen[bytes]] = []
        self._forwarded: dict[tuple[str, int], tuple[str, int]] = {}

    def _shell(self, sudo: bool) -> Any:
        if self.local:
            return testinfra.get_host("local://", sudo=sudo)
        *port, place = self._destination
        return testinfra.get_host("ssh://" + ":".join([place, *port[1:]]), ssh_extra_args=self._options, sudo=sudo)

    def output(self, command: str, *arguments: str) -> str:
        """What a command prints; it must succeed."""
        result = self.shell.run(command, *arguments)
        assert result.rc == 0, f"{self.name}: {command[:100]}: {result.stderr or result.stdout}"
        return str(result.stdout)

    def call(self, module: ModuleType, data: Any, interpreter: str = "python3", timeout: float = 120) -> Any:
        """Run ``module.main(data)`` on the host. Both go over standard input: argv is no place for secrets."""
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        script = f"{source}\nimport json as _json\nprint(_json.dumps(main(_json.loads({json.dumps(data)!r}))))\n"
        command = f"{self._sudo}{interpreter} -"
        argv = (
            ["sh", "-c", command] if self.local else ["ssh", *shlex.split(self._options), *self._destination, command]
        )
        done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{self.name}: {module.__name__} failed: {done.stderr[-2000:]}"
        return json.loads(done.stdout.splitlines()[-1])

    def forward(self, address: str, port: int) -> tuple[str, int]:
        """An address on this machine that leads to one that the host can reach."""
        address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - nothing is bound to it
        if self.local:
            return address, port
        if (address, port) not in self._forwarded:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                here = probe.getsockname()[1]
            options = ["-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes"]
            target = f"127.0.0.1:{here}:{f'[{address}]' if ':' in address else address}:{port}"
            self._tunnels.append(
                subprocess.Popen(
                    ["ssh", *options, *shlex.split(self._options), "-N", "-L", target, *self._destination],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            assert poll(lambda: _accepts("127.0.0.1", here), 15), f"{self.name}: ssh could not forward port {port}"
            self._forwarded[address, port] = ("127.0.0.1", here)
        return self._forwarded[address, port]

    def reach(self, service: str) -> Place:
        """One of this host's services, reached from here, and verified as its clients do."""
        tls = self.authority if service in expected.encrypted(self.host) else None
        return Place(self.forward(*expected.listening(self.host)[service]), tls)

    @property
    def authority(self) -> ssl.SSLContext:
        """Accepts only certificates of the deployment's CA."""
        return ssl.create_default_context(cafile=self.host["celery_tls_ca_source"])

    def close(self) -> None:
        """End the tunnels."""
        for tunnel in self._tunnels:
            tunnel.terminate()
            tunnel.wait(timeout=10)

    def units(self) -> dict[str, dict[str, str]]:
        """What the tests ask of every unit of ours, and of every other one that bears Celery's name."""
        properties = {*PROPERTIES}
        for unit in self.host.plan["units"]:
            properties |= set(expected.worker_properties(self.host, unit))
        names = " ".join(map(shlex.quote, {*expected.services(self.host), *expected.exposure(self.host)}))
        return parsing.shown(
            self.output(f"systemctl show --property={','.join(sorted(properties))} {names} 'celery-*'")
        )

    @cached_property
    def at_start(self) -> dict[str, dict[str, str]]:
        """The units as they were at the start of the tests."""
        return self.units()

    @cached_property
    def listeners(self) -> list[parsing.Listener]:
        """The sockets that wait for TCP connections."""
        return parsing.listeners(self.output("ss -Hltnp"))

    def journal(self, units: list[str], lines: int = 15) -> str:
        """The last lines of these units, without any secret."""
        chosen = " ".join(f"--unit={shlex.quote(unit)}" for unit in units)
        result = self.shell.run(f"journalctl --no-pager --output=short-iso --lines={lines} {chosen}")
        text = str(result.stdout or result.stderr)
        for name, secret in self.host.secrets.items():
            text = text.replace(secret, f"<{name}>")
        return text


def _accepts(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False
