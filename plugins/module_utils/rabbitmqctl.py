# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the RabbitMQ node of this host in its own language."""

from __future__ import annotations

import subprocess


class Failure(Exception):
    """One sentence for the person who runs the play."""


def text(value: str) -> str:
    """A text as an Erlang binary, whatever is in it."""
    return "<<" + ",".join(str(byte) for byte in value.encode()) + ">>"


def evaluate(tool: str, expression: str, timeout: float) -> str:
    """What the running node says to an Erlang expression; tool is rabbitmqctl."""
    return call(tool, timeout, "eval", expression)


def call(tool: str, timeout: float, *arguments: str) -> str:
    """What one of rabbitmqctl's commands prints."""
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
        raise Failure(f"rabbitmqctl did not answer within {timeout} s.") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Failure(f"rabbitmqctl failed: {lines[0] if lines else f'exit status {done.returncode}'}")
    return done.stdout.strip()
