# SPDX-License-Identifier: GPL-3.0-or-later
"""A steady stream of tasks whose acceptance is recorded, and a watch on the queues meanwhile."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from celery import Celery
from kombu import Connection

#: Seconds between two looks at the queues.
LOOK = 0.2
DEAD_LETTER = "celery.dead"


class Job(NamedTuple):
    """What to send."""

    task: str
    seconds: float
    countdown: int | None = None


#: Kinds of short tasks, and how many there are of each; where results are kept, those that need them.
KINDS = {"fast": 66, "later": 10, "flaky": 6, "threaded": 12, "hungry": 6}
RESULTS = {"fast": 30, "tracked": 30, "chorded": 16, "later": 6, "flaky": 6, "threaded": 12}


def mix(rate: float, seed: int = 1, kinds: Mapping[str, int] = KINDS) -> Iterator[Job]:
    """Tasks of every kind: mostly short, some delayed, some that fail at first, few that take seconds."""
    dice = random.Random(seed)  # noqa: S311 - the same load each time
    every = max(1, round(rate * 2.5))  # one long task in so many seconds, however many others there are
    number = 0
    while True:
        number += 1
        short = dice.uniform(0.01, 0.05)
        if number % every == 0:
            yield Job("effects.slow", 5.0)
        elif number % (every // 2 or 1) == 1:
            yield Job("effects.fast", dice.uniform(1.0, 2.0))
        else:
            kind = dice.choices([*kinds], [*kinds.values()])[0]
            if kind == "later":
                yield Job("effects.fast", short, countdown=dice.randint(1, 3))
            else:
                yield Job(f"effects.{kind}", short)


@dataclass
class Stream:
    """A producer that takes a task for accepted when the broker has said so, and never else."""

    app: Celery
    rate: float
    kinds: Mapping[str, int] = field(default_factory=lambda: KINDS)
    accepted: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    longest: float = 0.0  # seconds that one publish took
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _end: threading.Event = field(default_factory=threading.Event)

    def send(self, task: str, *arguments: float, countdown: int | None = None) -> str | None:
        """Publish one task; its id when it was accepted."""
        start = time.monotonic()
        try:
            task_id = str(self.app.send_task(task, arguments, countdown=countdown).id)
        except Exception as error:  # whatever it is, the caller was told that the task was not accepted
            self.refused.append(repr(error))
            return None
        finally:
            with self._lock:
                self.longest = max(self.longest, time.monotonic() - start)
        with self._lock:
            self.accepted.add(task_id)
        return task_id

    def _run(self) -> None:
        due = time.monotonic()
        for job in mix(self.rate, kinds=self.kinds):
            if self._end.is_set():
                return
            self.send(job.task, job.seconds, countdown=job.countdown)
            due = max(due + 1 / self.rate, time.monotonic())  # what a stall held back is not made up for
            self._end.wait(due - time.monotonic())

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Publish in the background."""
        thread = threading.Thread(target=self._run, name="stream")
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()


class Watch:
    """Looks at the queues all the time."""

    def __init__(self, url: str, queues: Collection[str], tls: Mapping[str, Any] | None = None) -> None:
        self._url = url
        self._tls = tls
        self._queues = list(queues)
        self._end = threading.Event()
        self._connection: Connection | None = None
        self.counting = False  # whether what is seen is part of a fault
        self.messages: dict[str, int] = {}
        self.consumers: dict[str, int] | None = None  # None: the broker does not say
        self.lowest: dict[str, int] = {}
        self.lowest_total: int | None = None
        self.unknown = 0.0  # seconds that the broker said nothing

    def _look(self) -> dict[str, Any]:
        if self._connection is None:
            options = {"read_timeout": 2, "write_timeout": 2}
            self._connection = Connection(self._url, connect_timeout=2, transport_options=options, ssl=self._tls)
            self._connection.connect()
        with self._connection.channel() as channel:
            return {queue: channel.queue_declare(queue, passive=True) for queue in self._queues}

    def _forget(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
        self._connection = None

    def _run(self) -> None:
        while not self._end.is_set():
            start = time.monotonic()
            try:
                self.note(self._look())
            except Exception:  # the broker is away, or starts, or does not answer: that is what the faults do
                self._forget()
                self.consumers = None
                self.unknown += (time.monotonic() - start + LOOK) * self.counting
            self._end.wait(LOOK)
        self._forget()

    def note(self, seen: Mapping[str, Any]) -> None:
        """Take what one look showed into account."""
        consumers = {queue: int(answer.consumer_count) for queue, answer in seen.items() if queue != DEAD_LETTER}
        self.messages = {queue: int(answer.message_count) for queue, answer in seen.items()}
        self.consumers = consumers
        if self.counting:
            for queue, count in consumers.items():
                self.lowest[queue] = min(count, self.lowest.get(queue, count))
            total = sum(consumers.values())
            self.lowest_total = total if self.lowest_total is None else min(total, self.lowest_total)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look in the background."""
        thread = threading.Thread(target=self._run, name="watch")
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()


def held_in(connection: Connection, queue: str) -> list[str]:
    """The ids of the tasks in a queue, which stay there."""
    with connection, connection.channel() as channel:
        found = []
        while (message := channel.basic_get(queue)) is not None:
            found.append(str(message.headers.get("id")))
        return found  # closing the channel gives back what was not acknowledged
