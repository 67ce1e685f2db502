# SPDX-License-Identifier: GPL-3.0-or-later
"""No events of tasks, for workers of many tiny tasks: they cost more than the tasks do.

A monitor such as Flower asks every worker for them, again and again; this one says no. Its heartbeats stay, so that
the monitor shows it as online.
"""

from typing import Any

from celery.worker.control import Panel

from celeryops_runtime import settings

SETTINGS = {"worker_send_task_events": False, "task_send_sent_event": False}


def refuse(state: Any, **_: Any) -> dict[str, str]:
    """The answer to who asks for events."""
    return {"ok": "this worker sends no task events"}


def switch_off(app: Any) -> None:
    """Make this app's workers send none."""
    settings.override(app, SETTINGS)
    Panel.data["enable_events"] = refuse
