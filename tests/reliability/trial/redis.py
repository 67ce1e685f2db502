# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis as the broker under trial: what it cannot be asked, the workers' hosts are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from kombu import Connection

from trial import hosts
from trial.hosts import WORKERS, HostError
from trial.load import Watch

#: What every worker says of itself, and the processes that there are.
ASK = "cd /proc && echo [0-9]* && cat /run/celery/*/status.json || true"


class Answer(NamedTuple):
    """One queue."""

    message_count: int
    consumer_count: int


def consuming(text: str) -> Counter[str]:
    """How many workers of one host consume each queue; the file of one that was killed stays for a moment."""
    first, _, rest = text.partition("\n")
    counts: Counter[str] = Counter()
    while rest.strip():
        status, end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:].lstrip()
        if status["state"] == "consuming" and str(status["pid"]) in first.split():
            counts.update(status["queues"])
    return counts


class RedisWatch(Watch):
    """Lists have no consumers, so their number is what the workers say."""

    def __init__(self, connect: Callable[[], Connection], queues: Collection[str]) -> None:
        super().__init__("", queues)
        self._connect = connect
        self._unacked = 0

    def _look(self) -> dict[str, Any]:
        counts: Counter[str] = Counter()
        for host in WORKERS:
            try:
                counts += consuming(hosts.shell(host, ASK))
            except (HostError, ValueError):  # it is off, or a file was just written
                continue
        if self._connection is None:
            self._connection = self._connect()
            self._connection.connect()
        channel = self._connection.default_channel
        self._unacked = len(channel.client.zrange(channel.unacked_index_key, 0, -1))
        return {queue: Answer(channel._size(queue), counts[queue]) for queue in self._queues}

    def note(self, seen: Mapping[str, Any]) -> None:
        """Take what one look showed into account."""
        super().note(seen)
        self.messages["(taken and not acknowledged)"] = self._unacked
