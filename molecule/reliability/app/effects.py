# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that has never heard of this collection. Its tasks write down what they did."""

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, chord

VERSION = Path(__file__).with_name("VERSION").read_text(encoding="utf-8").strip()
MEGABYTE = 2**20
#: Of a chord.
PARTS = 3
app = Celery("effects")


def note(task: Any, event: str, seconds: float = 0.0, of: str | None = None) -> None:
    """One line, whole and on the disk before the task goes on."""
    line = {
        "id": of or task.request.id,
        "retries": task.request.retries,
        "event": event,
        "at": time.time(),
        "pid": os.getpid(),
        "version": VERSION,
        "seconds": seconds,
    }
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


def work(task: Any, seconds: float) -> None:
    """Take that long."""
    note(task, "start", seconds)
    time.sleep(seconds)
    note(task, "end")


@app.task(bind=True, name="effects.fast")
def fast(self: Any, seconds: float) -> None:
    """One of many."""
    work(self, seconds)


@app.task(bind=True, name="effects.slow")
def slow(self: Any, seconds: float) -> None:
    """One of few."""
    work(self, seconds)


@app.task(bind=True, name="effects.threaded")
def threaded(self: Any, seconds: float) -> None:
    """One of a queue with threads."""
    work(self, seconds)


@app.task(bind=True, name="effects.flaky")
def flaky(self: Any, seconds: float) -> None:
    """Fails at first."""
    if not self.request.retries:
        note(self, "start", seconds)
        note(self, "retry")
        raise self.retry(countdown=1)
    work(self, seconds)


@app.task(bind=True, name="effects.tracked", track_started=True)
def tracked(self: Any, seconds: float) -> None:
    """Says that it has started."""
    work(self, seconds)


@app.task(bind=True, name="effects.chorded")
def chorded(self: Any, seconds: float) -> None:
    """Is done when the body of its chord is."""
    note(self, "start", seconds)
    header = [(part if number else tracked_part).si(seconds) for number in range(PARTS)]
    chord(header, body.s(self.request.id)).apply_async()


@app.task(name="effects.part")
def part(seconds: float) -> float:
    """One of a chord."""
    time.sleep(seconds)
    return seconds


@app.task(name="effects.tracked_part", track_started=True)
def tracked_part(seconds: float) -> float:
    """One of a chord that says that it has started."""
    time.sleep(seconds)
    return seconds


@app.task(bind=True, name="effects.body")
def body(self: Any, results: list[float], of: str) -> None:
    """Comes after every part."""
    if len(results) == PARTS:
        note(self, "end", of=of)


@app.task(bind=True, name="effects.hungry")
def hungry(self: Any, seconds: float, megabytes: int = 0) -> None:
    """Needs that much memory, but no more when it is tried again."""
    note(self, "start", seconds)
    eaten = []
    if not self.request.delivery_info.get("redelivered"):
        for _ in range(megabytes):
            eaten.append(b"x" * MEGABYTE)
    time.sleep(seconds)
    note(self, "end")
