# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployed settings as a plain Celery configuration (CELERY_CONFIG_MODULE), for workers without the runtime."""

import json
from pathlib import Path

from kombu import Exchange, Queue

_settings = json.loads(Path("/etc/celery/settings.json").read_text(encoding="utf-8"))["settings"]
globals().update(_settings)
task_queues = [
    Queue(
        queue["name"],
        Exchange(queue["exchange"], type=queue["exchange_type"]),
        queue["routing_key"],
        queue_arguments=queue["queue_arguments"],
    )
    for queue in _settings["task_queues"]
]
