# SPDX-License-Identifier: GPL-3.0-or-later
"""What the extended consumer changes, and what it leaves alone."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker.consumer import Consumer
from celeryops_runtime import consumer, outcomes
from celeryops_runtime.notify import Notifier
from celeryops_runtime.options import Options
from celeryops_runtime.watchdog import Watchdog


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    for name in ("CELERY_LOADER", "CELERY_BROKER_URL", "CELERYOPS_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    app = Celery("x", broker="amqp://u:pw@a//;amqp://u:pw@b//", set_as_current=False)
    app.conf.broker_transport_options = {"confirm_publish": True, "read_timeout": 20}
    consumer.install(app, Watchdog(Notifier({})), Options())
    return app


class Connectionless(Consumer):  # type: ignore[misc]
    """A consumer that needs no broker."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    def ensure_connected(self, conn: Any) -> Any:
        return conn


@pytest.mark.parametrize(
    ("purpose", "state"), [("connection_for_write", "consuming"), ("connection_for_read", "waiting")]
)
def test_only_by_what_it_consumes_it_waits(app: Celery, purpose: str, state: str) -> None:
    watchdog = Watchdog(Notifier({}))
    watchdog.consuming(["critical"])
    app.conf.broker_read_url = app.conf.broker_write_url = "amqp://u:pw@127.0.0.1:1//"
    connection = getattr(consumer.consumer_class(Connectionless, watchdog, Options())(app), purpose)()
    with pytest.raises(OSError, match="refused"):
        connection.ensure_connection(max_retries=1, interval_start=0, reraise_as_library_errors=False)
    assert watchdog.report.status.state == state


def test_only_the_workers_own_chatter_goes_unconfirmed(app: Celery) -> None:
    cls = consumer.consumer_class(Connectionless, Watchdog(Notifier({})), Options())
    chatter = cls(app).connection_for_write(heartbeat=10)
    assert chatter.transport_options == {"confirm_publish": False, "read_timeout": 20}
    replies = app.control.mailbox.producer_pool.connections.connection
    assert replies.transport_options["confirm_publish"] is False
    assert app.connection_for_write().transport_options["confirm_publish"] is True
    assert app.amqp.producer_pool.connections.connection.transport_options["confirm_publish"] is True


def test_without_confirms_nothing_is_changed(app: Celery) -> None:
    app.conf.broker_transport_options = {}
    assert consumer.chatter(app) == {}


def test_every_other_step_stays(app: Celery) -> None:
    ours, theirs = app.conf.worker_consumer.Blueprint.default_steps, Consumer.Blueprint.default_steps
    assert len(ours) == len(theirs)
    assert set(theirs) - set(ours) == {"celery.worker.consumer.delayed_delivery:DelayedDelivery"}
    assert set(ours) - set(theirs) == {"celeryops_runtime.consumer:OneNodeDelayedDelivery"}


def test_an_apps_own_consumer_is_extended(app: Celery) -> None:
    class Own(Consumer):  # type: ignore[misc]
        pass

    assert issubclass(consumer.consumer_class(Own, Watchdog(Notifier({})), Options()), Own)


def test_delayed_delivery_asks_the_connected_node_only(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        consumer.OneNodeDelayedDelivery, "_setup_delayed_delivery", lambda self, c, url: asked.append(url)
    )
    connected = SimpleNamespace(app=app, connection=app.connection_for_read())
    connected.connection.switch("amqp://u:pw@b//")
    step = object.__new__(consumer.OneNodeDelayedDelivery)

    step.start(connected)

    assert asked == ["amqp://u:pw@b:5672//"]


def test_its_failure_is_logged_and_the_worker_goes_on(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionRefusedError("no")

    monkeypatch.setattr(consumer.OneNodeDelayedDelivery, "_setup_delayed_delivery", fail)
    step = object.__new__(consumer.OneNodeDelayedDelivery)
    step.start(SimpleNamespace(app=app, connection=app.connection_for_read()))
    assert "Delayed delivery could not be set up" in caplog.text


class Taking:
    """Takes tasks from queues, or does not."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def cancel(self) -> None:
        self.did.append("cancel")

    def consume(self) -> None:
        self.did.append("consume")


def test_no_task_is_taken_while_results_cannot_be_stored(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.result_backend = "cache+memory://"
    asked: list[Celery] = []
    monkeypatch.setattr(outcomes, "await_end", asked.append)
    watchdog = Watchdog(Notifier({}))
    watchdog.consuming(["critical"])
    worker = consumer.consumer_class(Connectionless, watchdog, Options())(app)
    worker.task_consumer = taking = Taking()

    worker.heed_outage()
    assert taking.did == []

    outcomes.OUTAGE.begin(ConnectionRefusedError("nobody listens"))
    try:
        for _ in range(3):
            worker.heed_outage()
        assert (taking.did, asked) == (["cancel"], [app])
        assert watchdog.report.status.state == "waiting"
        assert "waiting for the result backend memory:/// since" in watchdog.report.line
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert errors == [
            "Results cannot be stored in memory:///, so no task is taken until they can: "
            "ConnectionRefusedError: nobody listens"
        ]
    finally:
        outcomes.OUTAGE.end()

    for _ in range(3):
        worker.heed_outage()
    assert taking.did == ["cancel", "consume"]
    assert watchdog.report.status.state == "consuming"
