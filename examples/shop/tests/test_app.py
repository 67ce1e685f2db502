# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes, flows, the schedule, messages, logs and Sentry."""

import logging
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk
from celery.app.log import TaskFormatter
from celery.utils.log import task_logger
from kombu.serialization import dumps, loads
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from shop import flows, outside, store, tasks
from shop.celery import app

ROUTES = {
    "charge_order": "critical",
    "sum_payments": "critical",
    "send_confirmation": "default",
    "publish_totals": "default",
    "tick": "default",
    "clean_up": "default",
    "ping": "default",
    "index_order": "bulk",
    "count_orders": "bulk",
    "build_report": "bulk",
    "stubborn_export": "bulk",
}
MESSAGES = [
    tasks.charge_order.s("order-1"),
    tasks.send_confirmation.s("order-1"),
    tasks.index_order.s("order-1"),
    tasks.count_orders.s("2026-11"),
    tasks.sum_payments.s("2026-11"),
    tasks.publish_totals.s([{"orders": 1}, {"revenue": 2}], "2026-11"),
    tasks.build_report.s("report-1", 0.5),
    tasks.stubborn_export.s("export-1", 60),
    tasks.tick.s(),
    tasks.clean_up.s(30),
    tasks.ping.s(),
    flows.fulfil("order-1"),
    flows.fulfil_all(["order-1", "order-2"]),
    flows.charge_all(["order-1", "order-2"]),
    flows.reindex(["order-1", "order-2"]).group(),
    flows.monthly_totals("2026-11"),
]


def place(count: int, trouble: str = "none") -> list[str]:
    """Place orders."""
    return [store.place_order("teapot", 1, 1900, trouble) for _number in range(count)]


def test_every_task_has_its_queue() -> None:
    routed = {
        name.removeprefix("shop.tasks."): app.amqp.router.route({}, name)["queue"].name
        for name in app.tasks
        if name.startswith("shop.")
    }
    assert routed == ROUTES


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: str(message.task))
def test_messages_are_plain_json(message: Any) -> None:
    content_type, encoding, body = dumps(message, serializer="json")
    again = loads(body, content_type, encoding, accept=["application/json"])
    assert dumps(again, serializer="json")[2] == body
    assert "__type__" not in body  # how kombu writes what plain JSON has no word for: dates, decimals, sets


def test_only_json_is_accepted() -> None:
    assert (app.conf.task_serializer, app.conf.result_serializer, app.conf.accept_content) == ("json", "json", ["json"])


def test_a_chain_does_one_step_after_the_other() -> None:
    (order_id,) = place(1)
    assert flows.fulfil(order_id).apply_async().get() == order_id
    history = store.history(order_id)
    assert (history["state"], len(history["mails"]), len(history["search"])) == ("paid", 1, 1)


def test_a_chain_stops_at_a_refused_payment() -> None:
    (order_id,) = place(1, "refused")
    with pytest.raises(outside.PaymentRefused):
        flows.fulfil(order_id).apply_async().get()
    history = store.history(order_id)
    assert (history["state"], history["mails"], history["search"]) == ("refused", [], [])


def test_a_group_runs_side_by_side() -> None:
    order_ids = place(3)
    assert flows.charge_all(order_ids).apply_async().get() == order_ids
    assert store.stats()["orders paid"] == 3


def test_chunks_put_many_orders_into_few_messages() -> None:
    order_ids = place(5)
    assert flows.reindex(order_ids, size=2).apply_async().get() == [order_ids[:2], order_ids[2:4], order_ids[4:]]
    assert store.stats()["search"] == 5


def test_a_chord_joins_what_ran_side_by_side() -> None:
    order_ids = place(2)
    flows.charge_all(order_ids[:1]).apply_async().get()
    month = store.order(order_ids[0]).placed_at[:7]
    assert flows.monthly_totals(month).apply_async().get() == {"orders": 2, "revenue": 1900}
    assert store.stats()["months"] == 1


@pytest.mark.parametrize("entry", app.conf.beat_schedule.values(), ids=lambda entry: str(entry["task"]))
def test_the_schedule_names_tasks_and_lets_missed_ones_expire(entry: dict[str, Any]) -> None:
    tasks_known = app.tasks
    assert entry["task"] in tasks_known
    assert entry["options"]["expires"] > 0


def test_each_log_line_of_a_task_carries_its_name_and_id(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Lines()
    handler.setFormatter(TaskFormatter(app.conf.worker_task_log_format, use_color=False))
    monkeypatch.setattr(task_logger, "handlers", [handler])
    caplog.set_level(logging.INFO, task_logger.name)
    (order_id,) = place(1)
    tasks.charge_order.apply((order_id,), task_id="id-1")
    refused = place(1, "refused")[0]
    tasks.charge_order.apply((refused,), task_id="id-2")
    assert all("shop.tasks.charge_order[id-" in line for line in lines)
    text = "\n".join(lines)
    assert f"start {{'order_id': '{order_id}'}}, attempt 1 of 6" in text
    assert "1900 cents booked" in text
    assert f"done: '{order_id}'" in text
    assert "gave up shop.tasks.charge_order[id-2]: PaymentRefused" in text


class Kept(Transport):
    """Keeps what would be sent to Sentry."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep an event."""
        if event := envelope.get_event():
            self.events.append(event)


def test_a_failure_reaches_sentry_once_with_stack_trace_and_tags(worker: None, database: Path) -> None:
    from sentry_sdk.integrations.celery import CeleryIntegration

    kept = Kept()
    (order_id,) = place(1, "refused")
    try:
        sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=kept, integrations=[CeleryIntegration()])
        tasks.charge_order.__trace__ = None  # traced again, now with Sentry
        task_id = tasks.charge_order.delay(order_id).id
        with pytest.raises(Exception, match="the bank refused"):
            app.AsyncResult(task_id).get(timeout=10)
    finally:
        sentry_sdk.get_global_scope().set_client(None)
    (event,) = kept.events
    exception = event["exception"]["values"][-1]
    assert exception["type"] == "PaymentRefused"
    assert "take_payment" in [frame["function"] for frame in exception["stacktrace"]["frames"]]
    tags = {"task": "shop.tasks.charge_order", "queue": "critical", "order_id": order_id}
    assert tags.items() <= event["tags"].items()
