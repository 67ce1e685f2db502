# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker's unit may ask for: delivery at most once, no events."""

import json
import subprocess
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker.control import Panel
from celeryops_runtime import consumer, delivery, events, settings
from celeryops_runtime.notify import Notifier
from celeryops_runtime.options import Options
from celeryops_runtime.watchdog import Watchdog

from .conftest import Host
from .test_worker import start_worker

Stop = Callable[[subprocess.Popen[str]], int]
PLAN = {"task_acks_late": True, "task_reject_on_worker_lost": True, "worker_send_task_events": True}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    for name in ("CELERY_LOADER", "CELERY_BROKER_URL", "CELERYOPS_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    app = Celery("x", broker="memory://", set_as_current=False)
    settings.install(app, settings.Shared(PLAN))

    @app.task(name="plain", shared=False)
    def plain() -> None:
        pass

    @app.task(name="stubborn", shared=False, acks_late=True, reject_on_worker_lost=True, retry_on_worker_lost=True)
    def stubborn() -> None:
        pass

    app.finalize()
    return app


def attributes(app: Celery) -> set[tuple[bool, ...]]:
    return {
        (task.acks_late, task.reject_on_worker_lost, bool(task.retry_on_worker_lost))
        for name, task in app.tasks.items()
        if name in ("plain", "stubborn", "late")
    }


class Base:
    """What the consumer is told to build on."""

    class Blueprint:
        default_steps: list[Any] = []  # noqa: RUF012

    def __init__(self, app: Celery) -> None:
        self.app = app

    def update_strategies(self) -> None:
        self.seen = attributes(self.app)


@pytest.mark.parametrize("at_most_once", [True, False])
def test_at_most_once_holds_for_every_task_whenever_it_came(app: Celery, at_most_once: bool) -> None:
    if at_most_once:
        delivery.at_most_once(app)

    @app.task(name="late", shared=False, acks_late=True)
    def late() -> None:
        pass

    app.tasks["late"]
    made = consumer.consumer_class(Base, Watchdog(Notifier({})), Options(at_most_once=at_most_once))(app)
    made.update_strategies()

    assert made.seen == ({(False, False, False)} if at_most_once else {(True, True, False), (True, True, True)})
    assert app.conf.task_acks_late is not at_most_once


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_main_process_and_children_agree(host: Host, stop: Stop, pool: str) -> None:
    with (host.path / "shop.py").open("a") as module:
        module.write(
            "\n@app.task(name='shop.stubborn', acks_late=True, bind=True)\n"
            "def stubborn(self, _):\n    return [app.conf.task_acks_late, self.acks_late]\n"
        )
    worker = start_worker(host, pool, options=["--delivery=at_most_once"])
    code = "from shop import *; import json; print(json.dumps(stubborn.delay(1).get(timeout=20)))"
    assert json.loads(host.python(code)) == [False, False]
    assert stop(worker) == 0


@pytest.fixture
def panel() -> Iterator[None]:
    original = dict(Panel.data)
    yield
    Panel.data.update(original)


@pytest.mark.usefixtures("panel")
def test_who_asks_for_events_is_refused(app: Celery) -> None:
    events.switch_off(app)
    dispatcher = SimpleNamespace(groups={"worker"})
    answer = Panel.data["enable_events"](SimpleNamespace(consumer=SimpleNamespace(event_dispatcher=dispatcher)))
    assert answer == {"ok": "this worker sends no task events"}
    assert dispatcher.groups == {"worker"}
    assert app.conf.worker_send_task_events is False


def test_a_worker_without_events_says_so(host: Host, stop: Stop) -> None:
    worker = start_worker(host, options=["--no-events"])
    asked = "app.control.enable_events(reply=True, timeout=5, limit=1)"
    code = f"from shop import app; import json; print(json.dumps({asked}))"
    assert json.loads(host.python(code)) == [{"critical-1@here": {"ok": "this worker sends no task events"}}]
    assert stop(worker) == 0


def test_a_worker_keeps_its_status_file(host: Host, stop: Stop) -> None:
    worker = start_worker(
        host, options=["--stop-timeout=90"], RUNTIME_DIRECTORY=str(host.path), WATCHDOG_USEC="3000000"
    )
    first = json.loads((host.path / "status.json").read_text())
    assert (first["node"], first["pid"], first["queues"]) == ("critical-1@here", worker.pid, ["critical"])
    assert (first["state"], first["running"], first["finished"], first["hold"]) == ("consuming", 0, 0, 90)
    host.python("from shop import *; print(charge.delay('A1').get(timeout=20))")
    host.notifications.wait_for("0 running, 1 done")
    assert json.loads((host.path / "status.json").read_text())["finished"] == 1
    assert stop(worker) == 0
    assert json.loads((host.path / "status.json").read_text())["state"] == "stopping"
