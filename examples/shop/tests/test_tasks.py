# SPDX-License-Identifier: GPL-3.0-or-later
"""What each task promises: one effect however often it runs, all or nothing, retries that end."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Retry, SoftTimeLimitExceeded

from shop import outside, store, tasks
from shop.base import ReliableTask, exponential_backoff
from shop.celery import app

SHOP_TASKS = sorted(name for name in app.tasks if name.startswith("shop."))


def place(trouble: str = "none") -> str:
    """Place an order of two teapots."""
    return store.place_order("teapot", 2, 3800, trouble)


@pytest.mark.parametrize("task", [tasks.charge_order, tasks.send_confirmation, tasks.index_order])
def test_run_twice_has_one_effect(task: Any) -> None:
    order_id = place()
    task.delay(order_id).get()
    once = store.history(order_id), store.stats()
    task.delay(order_id).get()
    assert (store.history(order_id), store.stats()) == once


def test_a_payment_is_booked_once_even_when_two_workers_pass_the_first_check() -> None:
    order = store.order(place())
    assert store.record_payment(order, "a")
    assert not store.record_payment(order, "b")
    assert store.stats()["goods sold"] == 2
    assert [row["reference"] for row in store.history(order.id)["payments"]] == ["a"]


def test_the_other_tasks_run_twice_have_one_effect() -> None:
    report_id = store.open_report("2026-02")
    for _run in range(2):
        assert tasks.build_report.delay(report_id).get() == {"report": report_id, "days": 28, "state": "complete"}
        tasks.stubborn_export.delay("export-1", 0.0).get()
        tasks.publish_totals.delay([{"orders": 1}, {"revenue": 2}], "2026-02").get()
        tasks.tick.apply(task_id="tick-1").get()
    stats = store.stats()
    assert (stats["pages"], stats["exports"], stats["months"], stats["ticks"]) == (28, 1, 1, 1)


def test_a_failure_in_the_middle_leaves_no_half_state(monkeypatch: pytest.MonkeyPatch) -> None:
    order_id = place()
    with monkeypatch.context() as broken:
        broken.setattr(store, "_set_state", lambda *args: 1 / 0)
        assert isinstance(tasks.charge_order.delay(order_id).result, ZeroDivisionError)
    assert store.history(order_id)["payments"] == []
    assert store.stats()["goods sold"] == 0
    tasks.charge_order.delay(order_id).get()
    assert store.stats()["goods sold"] == 2


def test_killed_in_the_middle_leaves_no_half_state() -> None:
    order_id = place()
    script = (
        "import os, signal; from shop import store, tasks\n"
        "store._set_state = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"tasks.charge_order({order_id!r})"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert store.history(order_id)["payments"] == []
    assert store.stats()["goods sold"] == 0


@pytest.mark.parametrize("task", [tasks.charge_order, tasks.send_confirmation])
def test_a_busy_moment_ends_in_success(task: Any) -> None:
    order_id = place("busy")
    assert task.delay(order_id).get() == order_id
    table = "payments" if task is tasks.charge_order else "mails"
    assert len(store.history(order_id)[table]) == 1


@pytest.mark.parametrize(
    ("task", "function", "error"),
    [
        (tasks.charge_order, "take_payment", outside.GatewayBusy),
        (tasks.send_confirmation, "send_mail", outside.MailServerBusy),
    ],
)
def test_retries_stop_at_the_limit(
    task: Any, function: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    def busy(order: store.Order, attempt: int) -> str:
        attempts.append(attempt)
        raise error("busy for ever")

    monkeypatch.setattr(outside, function, busy)
    assert isinstance(task.delay(place()).result, error)
    assert attempts == list(range(1, task.max_retries + 2))


def test_a_refused_payment_fails_at_once_and_is_remembered() -> None:
    order_id = place("refused")
    result = tasks.charge_order.delay(order_id)
    assert isinstance(result.result, outside.PaymentRefused)
    assert "take_payment" in result.traceback
    assert store.order(order_id).state == "refused"


def delays(task: Any, order_id: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The countdowns before each further attempt."""
    found: list[float] = []

    def retry(**options: Any) -> Retry:
        found.append(options["countdown"])
        return Retry()

    monkeypatch.setattr(task, "retry", retry)
    for retries in range(task.max_retries):
        task.push_request(retries=retries)
        try:
            with pytest.raises(Retry):
                task.run(order_id)
        finally:
            task.pop_request()
    return found


@pytest.mark.parametrize(
    ("task", "function", "error"),
    [
        (tasks.charge_order, "take_payment", outside.GatewayBusy),
        (tasks.send_confirmation, "send_mail", outside.MailServerBusy),
    ],
)
def test_delays_grow_and_differ(
    task: Any, function: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(order: store.Order, attempt: int) -> str:
        raise error("busy")

    monkeypatch.setattr(outside, function, busy)
    order_id = place()
    runs = [delays(task, order_id, monkeypatch) for _run in range(40)]
    longest = [max(run[n] for run in runs) for n in range(task.max_retries)]
    assert longest == sorted(longest)
    assert longest[-1] > 4 * longest[0]
    assert all(len({run[n] for run in runs}) > 1 for n in range(task.max_retries))


def test_backoff_by_hand_doubles_up_to_a_longest_delay() -> None:
    task = tasks.send_confirmation
    for retries, seconds in enumerate((2, 4, 8, 16, 32, 60, 60)):
        task.push_request(retries=retries)
        assert seconds <= exponential_backoff(task) <= seconds * 1.3
        task.pop_request()


def interrupt_on(call: int) -> Callable[[float], None]:
    """A `sleep` in which the soft limit strikes."""
    calls = 0

    def sleep(seconds: float) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise SoftTimeLimitExceeded

    return sleep


def test_at_the_soft_limit_a_report_keeps_what_it_has_and_goes_on_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    report_id = store.open_report("2026-11")
    with monkeypatch.context() as slow:
        slow.setattr(time, "sleep", interrupt_on(11))
        assert tasks.build_report.delay(report_id, 9.0).get() == {"report": report_id, "days": 10, "state": "partial"}
    assert store.report(report_id)[1] == set(range(1, 11))
    assert tasks.build_report.delay(report_id).get()["state"] == "complete"


def test_the_stubborn_export_ignores_the_soft_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 1:
            raise SoftTimeLimitExceeded

    monkeypatch.setattr(time, "sleep", sleep)
    assert tasks.stubborn_export.delay("export-1", 0.001).get() == "export-1"
    assert sleeps


def test_clean_up_forgets_old_ticks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(store, "now", lambda: "2020-01-01T00:00:00.000+00:00")
        store.record_tick("old", "w@h")
    store.record_tick("new", "w@h")
    assert tasks.clean_up.delay().get() == 1
    assert [tick["task_id"] for tick in store.ticks(9)] == ["new"]


@pytest.mark.parametrize("task", [tasks.charge_order, tasks.build_report])
def test_an_unknown_id_is_a_clear_failure(task: Any) -> None:
    with pytest.raises(store.NotFound, match=r"there is no nothing in .*share one database"):
        task.delay("nothing").get()


@pytest.mark.parametrize("name", SHOP_TASKS)
def test_every_task_is_reliable(name: str) -> None:
    task = app.tasks[name]
    assert isinstance(task, ReliableTask)
    assert task.idempotent and task.acks_late and task.reject_on_worker_lost
    assert task.max_retries is not None
    assert 0 < task.soft_time_limit < task.time_limit
