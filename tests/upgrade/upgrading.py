# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not change when an upgrade is refused, and what must when it is not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from trial import hosts
from trial.faults import await_cluster
from trial.hosts import BROKERS
from trial.row import RECOVERY_SECONDS, Trial
from trial.sides import Side

#: New each time, so that the same machines can go through it again.
MARK, FLAG = f"+celeryops{int(time.time())}", f"celeryops_{int(time.time())}"
#: Only offered: a step back within the same minor version, and one before it.
OFFERED = ("4.0.4-1", "3.13.7-1")
PORT = 8099


def versions() -> dict[str, str]:
    """What is installed."""
    return {host: hosts.run(host, "dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server") for host in BROKERS}


def runs() -> dict[str, str]:
    """What tells one run of a broker from the next."""
    return {host: hosts.run(host, "systemctl", "show", "-P", "InvocationID", hosts.SERVICE) for host in BROKERS}


@contextlib.contextmanager
def away(host: str) -> Iterator[None]:
    """A node is stopped meanwhile."""
    hosts.run(host, "systemctl", "stop", hosts.SERVICE)
    try:
        yield
    finally:
        hosts.run(host, "systemctl", "start", hosts.SERVICE)
        await_cluster()


def serves(side: Side) -> None:
    """A new task of every queue is accepted and done."""
    trial = Trial(side, rate=1)
    trial.forget()
    trial.probe(RECOVERY_SECONDS)
