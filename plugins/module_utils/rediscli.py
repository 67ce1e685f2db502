# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to a Redis or a Sentinel through redis-cli, whose command line never has the password."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass

SECONDS = 10


class Failure(Exception):
    """One sentence for the person who runs the play."""


def speaks_tls(host: str, port: int) -> bool | None:
    """Whether who listens there has no word for those without TLS, asked without any secret; None: nobody answers."""
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(1) not in (b"+", b"-")
    except ConnectionResetError:
        return True
    except OSError:
        return None


@dataclass(frozen=True, repr=False)
class RedisCli:
    """Who asks whom; with the file of a CA over TLS. (redis-cli looks at the certificate's CA, not at its names.)"""

    tool: str
    host: str
    port: int
    user: str
    password: str
    authority: str = ""

    def say(self, *words: str) -> str:
        """What the server answers to a command."""
        command = [
            self.tool,
            "-h",
            self.host,
            "-p",
            str(self.port),
            *(["--tls", "--cacert", self.authority] if self.authority else []),
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
