# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to a Redis or a Sentinel through redis-cli, whose command line never has the password."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

SECONDS = 10


class Failure(Exception):
    """One sentence for the person who runs the play."""


@dataclass(frozen=True, repr=False)
class RedisCli:
    """Who asks whom."""

    tool: str
    host: str
    port: int
    user: str
    password: str

    def say(self, *words: str) -> str:
        """What the server answers to a command."""
        command = [
            self.tool,
            "-h",
            self.host,
            "-p",
            str(self.port),
            "--user",
            self.user,
            "--no-auth-warning",
            "-e",
            *words,
        ]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                env={**os.environ, "REDISCLI_AUTH": self.password},
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.host}:{self.port} did not answer within {SECONDS} s.") from None
        answer = (done.stdout.strip() or done.stderr.strip()).replace("\r", "")
        if done.returncode:
            raise Failure(f"{self.host}:{self.port} answers {answer.splitlines()[0] if answer else 'nothing'}.")
        return answer
