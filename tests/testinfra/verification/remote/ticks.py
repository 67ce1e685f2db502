# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches the ticks that beat sends and the shop records. Runs inside the shop's environment."""

import time
from typing import Any


def main(data: Any) -> dict[str, Any]:
    """The next ticks, as many as are asked for or as come within so many periods."""
    from shop import store
    from shop.celery import TICK_SECONDS

    known = {tick["task_id"] for tick in store.ticks(10)}
    start = time.monotonic()
    end = start + data["periods"] * TICK_SECONDS
    new: list[dict[str, Any]] = []
    while len(new) < data["ticks"] and time.monotonic() < end:
        time.sleep(0.5)
        new = [tick for tick in store.ticks(10) if tick["task_id"] not in known]
    return {"every": TICK_SECONDS, "new": new, "waited": time.monotonic() - start}
