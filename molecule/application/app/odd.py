# SPDX-License-Identifier: GPL-3.0-or-later
"""An application with settings, routes and a logging of its own, as they are found in the field."""

import logging
import os
from logging.config import dictConfig
from typing import Any

from celery import Celery, shared_task, signals

app = Celery("odd")
#: For somebody else's workers.
other = Celery("other", broker="amqp://partner@127.0.0.1:1//", set_as_current=False)


def route(name: str, *_: Any, **__: Any) -> dict[str, str] | None:
    """By a function, with a key that no queue is bound to."""
    return {"queue": "heavy", "routing_key": "of.nobody"} if name == "odd.by_function" else None


app.conf.update(
    broker_url=os.environ.get("CELERY_BROKER_URL"),
    OTHER_BROKER_URL=os.environ.get("CELERY_BROKER_URL"),  # a name that Celery does not know
    task_routes=(route,),
    task_track_started=True,
    task_time_limit=30 * 60,  # from Celery's tutorial
    worker_hijack_root_logger=False,
    beat_schedule={
        "often": {"task": "odd.fine", "schedule": 1, "options": {"routing_key": "of.nobody", "expires": 60}}
    },
)


@signals.worker_init.connect
def configure(**_: Any) -> None:
    """As Django does: loggers that do not propagate, and all others disabled."""
    dictConfig(
        {
            "version": 1,
            "formatters": {"own": {"format": "own format: %(message)s"}},
            "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
            "loggers": {"odd": {"handlers": ["own"], "propagate": False}},
            "root": {"handlers": ["own"]},
        }
    )


@app.task(name="odd.fine")
def fine() -> str:
    """Nothing special."""
    return "fine"


@app.task(name="odd.by_function", bind=True)
def by_function(self: Any) -> str:
    """Which worker runs it."""
    return str(self.request.hostname)


@app.task(name="odd.by_attribute", bind=True, queue="heavy", routing_key="of.nobody")
def by_attribute(self: Any) -> str:
    """The same."""
    return str(self.request.hostname)


@app.task(name="odd.retried", bind=True, max_retries=1)
def retried(self: Any) -> str:
    """The same, after a retry with a delay."""
    if not self.request.retries:
        raise self.retry(countdown=1)
    return str(self.request.hostname)


@app.task(name="odd.says")
def says() -> None:
    """Writes a line, by a logger that does not propagate, and fails."""
    logging.getLogger("odd").error("the stock is empty")
    raise RuntimeError("nothing to sell")


@app.task(name="odd.brokers")
def brokers() -> list[str]:
    """Of both applications, without what is secret."""
    return [str(each.connection_for_write().as_uri()) for each in (app, other)]


@shared_task(name="odd.shared")
def shared() -> str:
    """Of whatever application is there."""
    return "shared"
