# SPDX-License-Identifier: GPL-3.0-or-later
"""What a monitor such as Flower is to the workers: it asks for events again and again, and receives them.

Flower asks every 5 seconds, this asks every second, so that they flow when the measured span begins.
"""

import signal
import sys
import threading
import time
from typing import Any

from tiny import app

PAUSE = 1.0


def ask() -> None:
    """Until the process ends."""
    while True:
        app.control.enable_events()
        time.sleep(PAUSE)


def main() -> None:
    """Count the events of tasks until SIGTERM, then print how many there were."""
    seen = 0

    def count(event: dict[str, Any]) -> None:
        nonlocal seen
        seen += event["type"].startswith("task-")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    threading.Thread(target=ask, daemon=True).start()
    try:
        with app.connection_for_read() as connection:
            app.events.Receiver(connection, handlers={"*": count}).capture(limit=None, timeout=None)
    finally:
        print(seen, flush=True)


if __name__ == "__main__":
    main()
