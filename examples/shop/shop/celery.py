# SPDX-License-Identifier: GPL-3.0-or-later
"""The Celery application: what belongs to the shop, whoever runs it.

How many workers there are, what kind of queues, when a message is acknowledged and confirmed, where errors are
reported: all that belongs to the deployment and is not repeated here.
"""

import os

from celery import Celery
from celery.schedules import crontab

TICK_SECONDS = 10

app = Celery("shop", include=["shop.tasks"])
app.conf.update(
    # RabbitMQ or Redis, never a relational database. Without BROKER_URL: RabbitMQ on this machine.
    broker_url=os.environ.get("BROKER_URL"),
    result_backend=os.environ.get("RESULT_BACKEND"),
    result_extended=True,  # `shop submit` shows which worker ran a task
    # Messages are plain JSON: ids and numbers. A pickled object could neither be read by another version nor trusted.
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    # Money must not wait behind a report: what is urgent, ordinary and heavy has a queue of its own.
    task_default_queue="default",
    task_routes={
        "shop.tasks.charge_order": {"queue": "critical"},
        "shop.tasks.sum_payments": {"queue": "critical"},
        "shop.tasks.index_order": {"queue": "bulk"},
        "shop.tasks.count_orders": {"queue": "bulk"},
        "shop.tasks.build_report": {"queue": "bulk"},
        "shop.tasks.stubborn_export": {"queue": "bulk"},
    },
    beat_schedule={
        # `expires`: after an outage of the workers the missed ones are dropped, not run all at once.
        "heartbeat": {"task": "shop.tasks.tick", "schedule": TICK_SECONDS, "options": {"expires": TICK_SECONDS}},
        "cleanup": {
            "task": "shop.tasks.clean_up",
            "schedule": crontab(hour="3", minute="30"),
            "options": {"expires": 3600},
        },
    },
    broker_connection_retry_on_startup=True,
)
