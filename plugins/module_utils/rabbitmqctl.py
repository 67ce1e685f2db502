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
    try:
        done = subprocess.run(
            [tool, "--quiet", "eval", expression],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"rabbitmqctl did not answer within {timeout} s.") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Failure(f"rabbitmqctl failed: {lines[0] if lines else f'exit status {done.returncode}'}")
    return done.stdout.strip()


class Tools:
    """RabbitMQ's command line tools, which live side by side; ``tool`` is rabbitmqctl."""

    def __init__(self, tool: str) -> None:
        self.folder = os.path.dirname(tool)

    def run(self, name: str, *arguments: str, timeout: float = 60) -> str:
        """What one of them prints; it must succeed."""
        command = [os.path.join(self.folder, name), "--quiet", *arguments]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"{name} {arguments[0]} did not end within {timeout:g} s.") from None
        if done.returncode:
            said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise Failure(f"{name} {arguments[0]} failed: {said[0] if said else f'exit status {done.returncode}'}")
        return done.stdout

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
