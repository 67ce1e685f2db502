# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service says of itself."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, beat, signals
from celery.worker import state
from celeryops_runtime import readiness
from celeryops_runtime.counts import Counts, count
from celeryops_runtime.notify import Notifier
from celeryops_runtime.options import Options
from celeryops_runtime.status import MARGIN, Report
from celeryops_runtime.watchdog import Watchdog
from kombu import Connection

from .conftest import Notifications


def told(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "status.json").read_text())
    return content


def test_line_and_file_follow_what_the_worker_does(tmp_path: Path) -> None:
    report = Report("celery-worker-critical@1", str(tmp_path), 90)
    watchdog = Watchdog(Notifier({}), report)
    counts = [Counts()]
    report.counts = lambda: counts[-1]

    watchdog.consuming(["default", "critical"])

    assert re.fullmatch(
        r"consuming critical, default since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; 0 running, 0 done", report.line
    )
    first = told(tmp_path)
    assert first["unit"] == "celery-worker-critical@1"
    assert (first["state"], first["queues"], first["hold"]) == ("consuming", ["critical", "default"], 90)

    counts.append(Counts(running=2, finished=153))
    watchdog.tell()
    assert report.line.endswith("; 2 running, 153 done")
    second = told(tmp_path)
    assert (second["running"], second["finished"], second["since"]) == (2, 153, first["since"])
    assert second["changed"] == second["at"] > first["changed"]

    watchdog.tell()
    assert told(tmp_path)["changed"] == second["changed"]
    watchdog.waiting("amqp://b")
    assert told(tmp_path)["state"] == "waiting"
    assert report.line.startswith("waiting for the broker amqp://b since ")
    watchdog.consuming(["critical", "default"])
    assert told(tmp_path)["since"] > first["since"]
    watchdog.stopping()
    watchdog.waiting("amqp://b")
    assert told(tmp_path)["state"] == "stopping"
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_without_a_directory_there_is_the_line_only(notifications: Notifications) -> None:
    watchdog = Watchdog(Notifier({"NOTIFY_SOCKET": str(notifications.path)}))
    watchdog.consuming(["critical"])
    assert "STATUS=consuming critical since" in notifications.wait_for("READY=1")


def test_a_failure_of_it_does_not_silence_the_watchdog(notifications: Notifications, caplog: Any) -> None:
    watchdog = Watchdog(Notifier({"NOTIFY_SOCKET": str(notifications.path)}), Report("x", "/nowhere/at/all"))
    watchdog.consuming(["critical"])
    notifications.wait_for("READY=1")
    assert "Report.refresh failed; the service goes on without it" in caplog.text


@pytest.fixture
def requests() -> Iterator[list[Any]]:
    state.reset_state()
    yield []
    state.reset_state()


class Request:
    """As Celery's worker keeps them."""

    name = "shop.charge"

    def __init__(self, own: float | None = None, of_task: float | None = None) -> None:
        self.id = str(id(self))
        self.time_limits, self.task = (own, None), SimpleNamespace(time_limit=of_task)


def test_tasks_are_counted_as_celery_counts_them(requests: list[Any]) -> None:
    requests += [Request(of_task=60.0), Request(own=600.0, of_task=60.0), Request(), Request()]
    for request in requests:
        state.task_reserved(request)
    state.task_accepted(requests[0])
    state.task_accepted(requests[1])
    state.task_accepted(requests[2])
    assert count({}) == Counts(running=3, finished=0, longest_limit=600.0)
    state.task_ready(requests[1], successful=True)
    assert count({}) == Counts(running=2, finished=1, longest_limit=60.0)
    state.task_scheduled(scheduled := Request())
    limited = SimpleNamespace(contents=[1, 2])
    assert count({"shop.charge": limited, "shop.other": None}).held == 3
    assert scheduled


@pytest.mark.parametrize(("longest", "hold"), [(0.0, 90.0), (45.0, 90.0), (600.0, 600.0 + MARGIN)])
def test_a_task_with_a_longer_limit_of_its_own_has_that_time(tmp_path: Path, longest: float, hold: float) -> None:
    report = Report("x", str(tmp_path), 90)
    report.counts = lambda: Counts(running=1, longest_limit=longest)
    report.refresh()
    assert told(tmp_path)["hold"] == hold
    report.counts = Counts
    report.refresh()
    assert told(tmp_path)["hold"] == 90


def test_a_connection_that_waits_says_so_without_its_password(tmp_path: Path) -> None:
    watchdog = Watchdog(Notifier({}), Report("x", str(tmp_path)))
    connection = watchdog.feed(Connection("amqp://u:pa55@127.0.0.1:1//", connect_timeout=1))
    with pytest.raises(OSError, match="refused"):
        connection.ensure_connection(max_retries=1, interval_start=0, reraise_as_library_errors=False)
    assert watchdog.report.line.startswith("waiting for the broker amqp://u:**@127.0.0.1:1// since")


def test_who_lost_its_events_connection_alone_consumes_again_when_that_is_back(tmp_path: Path) -> None:
    """Its status must not say for ever that it waits: such a worker is left alone by the host's liveness check."""
    watchdog = Watchdog(Notifier({}), Report("x", str(tmp_path)))
    watchdog.consuming(["critical"])
    before = told(tmp_path)
    seen: list[str] = []
    connection = Connection("memory://")

    def connect(errback: Any, retries: Any, start: Any, step: Any, most: Any, callback: Any, **_: Any) -> None:
        callback()
        seen.append(told(tmp_path)["state"])

    connection._ensure_connection = connect
    watchdog.feed(connection, beside=True).ensure_connection()
    assert seen == ["waiting"]
    after = told(tmp_path)
    assert (after["state"], after["since"]) == ("consuming", before["since"])
    assert watchdog.report.line.startswith("consuming critical since")


def test_who_lost_the_connection_that_it_consumes_by_waits_until_it_consumes(tmp_path: Path) -> None:
    watchdog = Watchdog(Notifier({}), Report("x", str(tmp_path)))
    watchdog.consuming(["critical"])
    connection = Connection("memory://")
    connection._ensure_connection = lambda *words, **_: words[5]()
    watchdog.feed(connection).ensure_connection()
    assert told(tmp_path)["state"] == "waiting"


@pytest.mark.parametrize("beside", [True, False])
def test_who_stops_goes_on_stopping(tmp_path: Path, beside: bool) -> None:
    watchdog = Watchdog(Notifier({}), Report("x", str(tmp_path)))
    watchdog.consuming(["critical"])
    connection = Connection("memory://")
    connection._ensure_connection = lambda *words, **_: watchdog.stopping()
    watchdog.feed(connection, beside).ensure_connection()
    assert told(tmp_path)["state"] == "stopping"


def test_threads_have_no_limit_to_be_over(tmp_path: Path) -> None:
    report = Report("w", str(tmp_path), 60)
    report.counts = lambda: Counts(running=1, longest_limit=600)
    report.no_limits()
    report.refresh()
    assert told(tmp_path)["hold"] is None


@pytest.fixture
def scheduler() -> beat.Scheduler:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"a": {"task": "shop.tick", "schedule": 1000}}
    return beat.Scheduler(app)


@pytest.fixture
def watchdog(scheduler: beat.Scheduler) -> Watchdog:
    """Of a beat that has begun."""
    found = Watchdog(Notifier({}))
    for signal, receiver in readiness._service(found, Options()):
        if signal is signals.beat_init:
            receiver(sender=SimpleNamespace(scheduler=scheduler))
    return found


def test_the_line_of_beat_follows_what_it_does(scheduler: Any, watchdog: Watchdog) -> None:
    began = watchdog.report.status.since
    since = f"scheduling {{}} since {datetime.fromtimestamp(began, UTC):%Y-%m-%d %H:%M:%S} UTC"
    assert watchdog.report.line == since.format("1 entry")
    scheduler.schedule["b"] = beat.ScheduleEntry(name="b", task="shop.tock", schedule=2000, app=scheduler.app)
    scheduler.tick()
    assert watchdog.report.line == since.format("2 entries"), "one was added meanwhile"
    scheduler.apply_async(scheduler.schedule["b"])
    assert re.fullmatch(since.format("2 entries") + r"; 1 sent, shop.tock last, at \S+ \S+ UTC", watchdog.report.line)


def test_what_beat_could_not_send_is_not_counted(
    scheduler: Any, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "send_task", lambda *_a, **_k: 1 / 0)
    with pytest.raises(beat.SchedulingError):
        scheduler.apply_async(scheduler.schedule["a"])
    assert "sent" not in watchdog.report.line
