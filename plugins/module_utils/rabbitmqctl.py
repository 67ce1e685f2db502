# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the RabbitMQ node of this host in its own language."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

#: Where files are written that only RabbitMQ's own user may read: in memory, gone with the next start.
RUN = "/run"


class Failure(Exception):
    """One sentence for the person who runs the play."""


def text(value: str) -> str:
    """A text as an Erlang binary, whatever is in it."""
    return "<<" + ",".join(str(byte) for byte in value.encode()) + ">>"


def evaluate(tool: str, expression: str, timeout: float) -> str:
    """What the running node says to an Erlang expression; tool is rabbitmqctl."""
    return call(tool, timeout, "eval", expression)


def call(tool: str, timeout: float, *arguments: str, secrets: Iterable[str] = ()) -> str:
    """What a command of one of RabbitMQ's tools prints; it must succeed. No message shows one of the secrets."""
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
        reason = _reason(done, secrets) or f"exit status {done.returncode}"
        raise Failure(f"{name} {arguments[0]} failed: {reason}")
    return done.stdout.strip()


def _reason(done: subprocess.CompletedProcess[str], secrets: Iterable[str]) -> str:
    """All that a command printed, on one line: the first line is often no more than "Error:"."""
    said = " ".join(f"{done.stderr} {done.stdout}".split())
    for secret in filter(None, secrets):
        said = said.replace(secret, "***")
    return said.removeprefix("Error:").strip()


def import_definitions(tool: str, document: Mapping[str, Any], timeout: float) -> None:
    """Hand definitions to the node, through a file: rabbitmqctl hangs when it reads from a pipe (4.0.5)."""
    secrets = [str(user.get("password_hash") or "") for user in document.get("users") or []]
    with tempfile.NamedTemporaryFile("w", dir=RUN, prefix="rabbitmq-definitions-", suffix=".json") as file:
        json.dump(document, file)
        file.flush()
        try:
            shutil.chown(file.name, user="rabbitmq")
        except LookupError:
            raise Failure("This host has no user rabbitmq: install the package rabbitmq-server first.") from None
        call(tool, timeout, "import_definitions", file.name, secrets=secrets)


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
        """The queues of a virtual host, with where their leader and members are."""
        columns = ["name", "type", "leader", "members", "online"]
        command = ["list_queues", "--vhost", vhost, "--formatter", "json", *columns]
        rows: list[dict[str, Any]] = json.loads(self.run("rabbitmqctl", *command))
        return rows
