# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for something to become true, and not a moment longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def poll(attempt: Callable[[], T], timeout: float, pause: float = 0.3) -> T:
    """Try until the answer is true, for at most these seconds; the last answer, whatever it is."""
    end = time.monotonic() + timeout
    while not (answer := attempt()) and time.monotonic() < end:
        time.sleep(pause)
    return answer
