# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on during a warm stop."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.pool import RUN
from celery import Celery
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celeryops_runtime import warmstop
from celeryops_runtime.counts import Counts
from celeryops_runtime.notify import Notifier
from celeryops_runtime.status import Report
from celeryops_runtime.watchdog import Watchdog
from kombu import Message
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from .conftest import Notifications


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    set_event_loop(hub)
    yield hub
    hub.close()
    set_event_loop(None)


def begin_stop(hub: Hub | None, pool: Any) -> Any:
    parent = SimpleNamespace(hub=hub, pool=pool)
    step = warmstop.worker_step(Watchdog(Notifier({})), None)(parent)
    step.close(parent)
    step.stop(parent)
    return parent


def prefork(finished: threading.Event) -> PreforkPool:
    pool = object.__new__(PreforkPool)
    pool._pool = SimpleNamespace(_state=RUN, close=lambda: None, join=lambda: finished.wait(10))
    return pool


def beats_until(hub: Hub, times: int, finished: threading.Event) -> list[float]:
    """Finish the task once the timer has run that often."""
    beats: list[float] = []

    def heartbeat() -> None:
        beats.append(time.monotonic())
        if len(beats) == times:
            finished.set()

    hub.call_repeatedly(0.05, heartbeat)
    return beats


@pytest.mark.parametrize("reconnected", [False, True])
def test_heartbeats_go_on_while_the_prefork_pool_drains(hub: Hub, reconnected: bool) -> None:
    if reconnected:
        hub.reset()
        assert get_event_loop() is None, "what kombu forgets, and Celery asks for"
    finished = threading.Event()
    pool, beats = prefork(finished), beats_until(hub, 2, finished)

    begin_stop(hub, pool)
    pool.on_stop()

    assert len(beats) >= 2


@pytest.mark.parametrize("reconnected", [False, True])
def test_heartbeats_and_acknowledgements_go_on_while_the_threads_pool_drains(hub: Hub, reconnected: bool) -> None:
    if reconnected:
        hub.reset()
    pool, finished, acknowledged = ThreadPool(limit=2), threading.Event(), threading.Event()
    beats = beats_until(hub, 2, finished)

    class Acked(Message):  # type: ignore[misc]
        def ack_log_error(self, *_: Any) -> None:
            acknowledged.set()

    acked, deliveries = Acked(body="", channel=None), []

    def task() -> None:
        hub.call_soon(acked.ack_log_error)
        hub.call_soon(deliveries.append, "a reader of the socket")
        assert acknowledged.wait(10), "an early task is acknowledged while another one runs"
        assert finished.wait(10)

    running = pool.executor.submit(task)
    begin_stop(hub, pool)

    assert running.result(0) is None
    assert len(beats) >= 2
    assert deliveries == [], "what is delivered now belongs to nobody"


def test_what_has_not_begun_is_not_begun(hub: Hub) -> None:
    pool, release = ThreadPool(limit=1), threading.Event()
    running, waiting = pool.executor.submit(release.wait, 10), pool.executor.submit(release.wait, 10)
    hub.call_later(0.1, release.set)

    begin_stop(hub, pool)

    assert running.result(0)
    assert waiting.cancelled()


def test_without_an_event_loop_celery_stops_as_ever() -> None:
    pool = SimpleNamespace(executor=ThreadPoolExecutor(1))
    begin_stop(None, pool)
    pool.executor.submit(lambda: None).result(5)


@pytest.fixture
def children(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[PreforkPool]:
    """A pool with a real child process, in this event loop."""
    monkeypatch.setattr("billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT", 10)  # it waits a second, not 30
    app = Celery("x", set_as_current=False)
    app.conf.worker_hijack_root_logger = False
    pool = PreforkPool(limit=1, app=app, initargs=(app, "here"), threads=False)
    pool.start()
    pool.register_with_event_loop(hub)
    yield pool
    pool.terminate()


@pytest.mark.parametrize("kept", [True, False])
def test_a_task_given_to_a_child_is_not_forgotten_when_the_consumer_stops(
    hub: Hub, children: PreforkPool, kept: bool
) -> None:
    done: list[Any] = []
    job = children.apply_async(sum, ([1, 2],), callback=done.append)
    loop = hub.create_loop()
    while not job._write_to:
        next(loop)
    assert not job._accepted, "it is on its way: nobody has read that it began"
    assert children._pool._cache

    with warmstop.keep_given(children) if kept else nullcontext():
        children.flush()
    assert not job._accepted
    children.stop()

    assert done == ([3] if kept else []), "what Celery does by itself"


def test_a_task_that_waits_for_a_child_goes_back_to_the_broker(hub: Hub, children: PreforkPool) -> None:
    done: list[Any] = []
    children.apply_async(sum, ([1, 2],), callback=done.append)
    with warmstop.keep_given(children):
        children.flush()
    children.stop()
    assert done == []


def test_other_pools_have_nothing_to_keep() -> None:
    for pool in (None, ThreadPool(limit=1)):
        with warmstop.keep_given(pool):
            pass


def watched(notifications: Notifications, counts: list[int]) -> Watchdog:
    report = Report()
    report.counts = lambda: Counts(running=counts.pop(0) if counts else 0)
    return Watchdog(Notifier({"NOTIFY_SOCKET": str(notifications.path)}), report)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time here."""
    waited: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(waited), sleep=waited.append)
    monkeypatch.setattr(warmstop, "time", clock)
    return waited


def test_it_asks_for_time_until_the_last_task_has_ended(notifications: Notifications, waited: list[float]) -> None:
    warmstop.keep_alive(watched(notifications, [2, 0, 1]), 100)
    for running in (2, 0, 1, 0, 0):
        message = notifications.wait_for("EXTEND_TIMEOUT_USEC=30000000")
        assert "WATCHDOG=1" in message
        assert f"{running} running" in message
    assert waited == [10] * 5


def test_it_never_asks_for_more_than_it_had_at_the_start(notifications: Notifications, waited: list[float]) -> None:
    warmstop.keep_alive(watched(notifications, [1] * 99), 45)
    asked = [notifications.wait_for("EXTEND").split("USEC=")[1].splitlines()[0] for _ in range(5)]
    assert asked == ["30000000", "30000000", "25000000", "15000000", "5000000"]
    assert sum(waited) == 45
    with pytest.raises(AssertionError):
        notifications.wait_for("WATCHDOG", timeout=0.1)


def test_without_a_time_it_asks_for_none_but_lives(notifications: Notifications, waited: list[float]) -> None:
    warmstop.keep_alive(watched(notifications, [1] * 9), None)
    for _ in range(11):
        assert "EXTEND" not in notifications.wait_for("WATCHDOG=1")


def test_only_this_says_so_during_a_stop(notifications: Notifications) -> None:
    watchdog = watched(notifications, [])
    watchdog.stopping()
    notifications.wait_for("STOPPING=1")
    watchdog._last = 0
    watchdog.ping()
    with pytest.raises(AssertionError):
        notifications.wait_for("WATCHDOG", timeout=0.1)
