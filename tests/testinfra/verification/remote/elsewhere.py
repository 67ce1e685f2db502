# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that only sends tasks: it has the printed settings and its passwords, or what its unit gives it."""

from typing import Any


def main(data: Any) -> list[Any]:
    """The results of one task that is sent now, and of one that is delayed, for each queue. Runs where Celery is."""
    from celery import Celery

    app = Celery("elsewhere", set_as_current=False)
    if "settings" in data:
        app.config_from_object(data["settings"])
    sent = [
        app.send_task(data["task"], queue=queue, countdown=countdown)
        for queue in data["queues"]
        for countdown in (None, 2)
    ]
    return [result.get(timeout=data["timeout"]) for result in sent]
