# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that has never heard of this collection; its tasks do next to nothing."""

import time

from celery import Celery

app = Celery("tiny")


@app.task(name="noop")
def noop() -> None:
    """Nothing: what is left is the way there and back."""


@app.task(name="ten_ms")
def ten_ms() -> None:
    """Waits, as a task does for a database."""
    time.sleep(0.01)
