# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the RabbitMQ node of this host in its own language."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any


class Failure(Exception):
    """One sentence for the person who runs the play."""


def text(value: str) -> str:
    """A text as an Erlang binary, whatever is in it."""
    return "<<" + ",".join(str(byte) for byte in value.encode()) + ">>"


def evaluate(tool: str, expression: str, timeout: float) -> str:
    """What the running node says to an Erlang expression; tool is rabbitmqctl."""
    return call(tool, timeout, "eval", expression)


def call(tool: str, timeout: float, *arguments: str) -> str:
    """What a command of one of RabbitMQ's tools prints; it must succeed."""
    name = os.path.basename(tool)
    try:
        done = subprocess.run(
            [tool, "--quiet", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{name} {arguments[0]} did not end within {timeout:g} s.") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Failure(f"{name} {arguments[0]} failed: {lines[0] if lines else f'exit status {done.returncode}'}")
    return done.stdout.strip()


class Tools:
    """RabbitMQ's command line tools, which live side by side; ``tool`` is rabbitmqctl."""

    def __init__(self, tool: str, timeout: float = 180) -> None:
        self.tool, self.timeout = tool, timeout

    def run(self, name: str, *arguments: str, timeout: float | None = None) -> str:
        """What one of them prints."""
        return call(os.path.join(os.path.dirname(self.tool), name), timeout or self.timeout, *arguments)

    def status(self) -> dict[str, Any]:
        """The cluster, as this host's node sees it."""
        status: dict[str, Any] = json.loads(self.run("rabbitmqctl", "cluster_status", "--formatter", "json"))
        return status

    def queues(self, vhost: str) -> list[dict[str, Any]]:
        """The queues of a virtual host, with where their members are."""
        columns = ["name", "type", "members", "online"]
        command = ["list_queues", "--vhost", vhost, "--formatter", "json", *columns]
        rows: list[dict[str, Any]] = json.loads(self.run("rabbitmqctl", *command))
        return rows
