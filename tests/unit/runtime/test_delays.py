# SPDX-License-Identifier: GPL-3.0-or-later
"""A delay below one second is sent, not refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery.app.base
import pytest
from celery import Celery
from celeryops_runtime import delays, producer
from kombu import Exchange, Queue
from kombu.transport.native_delayed_delivery import calculate_routing_key


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An app whose quorum queue is on RabbitMQ, as far as Celery's sending code can tell."""
    monkeypatch.setattr(celery.app.base, "calculate_routing_key", calculate_routing_key)  # whatever other tests did
    app = Celery("delays", broker="amqp://nobody@127.0.0.1:1//")
    queue = Queue("q", Exchange("x", type="topic"), routing_key="q", queue_arguments={"x-queue-type": "quorum"})
    app.conf.update(task_queues=[queue], task_default_queue="q", task_default_exchange_type="topic")
    keys: list[str] = []

    class Producer:
        connection = app.connection_for_write()

    def send_task_message(_producer: Any, _name: str, _message: Any, **options: Any) -> None:
        keys.append(options["routing_key"])

    monkeypatch.setattr(app.amqp, "send_task_message", send_task_message, raising=False)
    app.amqp.__dict__["send_task_message"] = send_task_message

    def send(countdown: float) -> str:
        app.send_task("t", countdown=countdown, producer=Producer(), queue="q", ignore_result=True)
        return keys[-1]

    yield send
    app.close()


def test_celery_refuses_it_by_itself(sent: Any) -> None:
    """When this fails, Celery has mended it, and delays.py can go."""
    with pytest.raises(ValueError, match="positive"):
        sent(0.5)


def test_half_a_second_is_one(sent: Any) -> None:
    delays.round_up()
    delays.round_up()
    assert sent(0.5) == sent(1)
    assert sent(3) != sent(1)


def test_a_process_that_only_sends_does_so_too(sent: Any, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"settings": {}}')
    producer.configure(Celery("web", set_as_current=False), tmp_path / "settings.json")
    assert sent(0.5) == sent(1)
