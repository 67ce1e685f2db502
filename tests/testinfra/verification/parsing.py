# SPDX-License-Identifier: GPL-3.0-or-later
"""What the programs of a host print, as data."""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass

SPAN_SECONDS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "w": 7 * 86400,
    "month": 2629800,
    "y": 31557600,
}


@dataclass(frozen=True)
class Listener:
    """A socket that waits for connections."""

    address: str
    port: int
    program: str

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach it."""
        if self.address == "*":
            return False
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return bool((mapped or address).is_loopback)

    def within(self, address: str, port: int) -> bool:
        """Whether it is the one that listens on this address, which may be a wildcard."""
        wildcards = ("0.0.0.0", "::", "*")  # noqa: S104 - names, nothing is bound here
        return self.port == port and (self.address == address or (self.address in wildcards and address in wildcards))

    def __str__(self) -> str:
        return f"{self.program} on {self.address}:{self.port}"


def exposure(text: str) -> dict[str, float]:
    """Units with how open they are, as ``systemd-analyze security`` prints it."""
    return {unit: float(score) for unit, score in re.findall(r"exposure level for (\S+): ([\d.]+)", text)}


def listeners(text: str) -> list[Listener]:
    """The lines of ``ss -Hltnp``."""
    found = []
    for line in text.splitlines():
        columns = line.split()
        address, _colon, port = columns[3].rpartition(":")
        program = re.search(r'"([^"]+)"', line)
        found.append(
            Listener(address.strip("[]").split("%")[0], int(port), program[1] if program else "an unknown program")
        )
    return found


def shown(text: str) -> dict[str, dict[str, str]]:
    """The blocks of ``systemctl show`` for several units, by the unit's name."""
    blocks = (dict(line.partition("=")[::2] for line in block.splitlines()) for block in text.split("\n\n"))
    return {block["Id"]: block for block in blocks if block.get("Id")}


def seconds(span: str) -> float:
    """Seconds of what systemd calls a time span, such as ``5min 30s``."""
    if span == "infinity":
        return float("inf")
    parts = re.findall(r"([\d.]+)\s*([a-z]*)", span)
    return sum(float(number) * SPAN_SECONDS[unit or "us"] for number, unit in parts)


def command(shown_exec: str) -> list[str]:
    """The words of a command as ``systemctl show -p ExecStart`` prints it."""
    match = re.search(r"argv\[\]=(.*?) ; ignore_errors=", shown_exec)
    return shlex.split(match[1]) if match else []


def options(words: list[str]) -> dict[str, str]:
    """The ``--name=value`` words of a command."""
    return dict(word[2:].partition("=")[::2] for word in words if word.startswith("--") and word != "--")
