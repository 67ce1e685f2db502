# SPDX-License-Identifier: GPL-3.0-or-later
"""What was revoked stays so: over restarts, crashes and for a worker that takes another's place."""

import json
import logging
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker import state
from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.control import Panel
from celery.worker.request import Request
from celeryops_runtime import consumer, revocations
from celeryops_runtime.notify import Notifier
from celeryops_runtime.options import Options
from celeryops_runtime.revocations import ID, KEPT, Revocations
from celeryops_runtime.revoked import Store
from celeryops_runtime.watchdog import Watchdog

from .conftest import Host
from .test_worker import start_worker

APP = Celery("x", broker="memory://", backend="cache+memory://", set_as_current=False)
PANEL = SimpleNamespace(app=APP, consumer=None)


@APP.task(name="shop.charge")  # type: ignore[untyped-decorator]
def charge() -> None:
    """What would be done."""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Celery's state of a worker, as at its start."""
    monkeypatch.setattr(Panel, "data", dict(Panel.data))
    monkeypatch.setattr(state.revoked, "expires", state.revoked.expires)
    state.reset_state()
    yield
    state.reset_state()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / revocations.FILE


def start(path: Path, **environ: str) -> Revocations:
    """A worker starts, and comes to where it takes its first task."""
    state.reset_state()
    started = revocations.install({"STATE_DIRECTORY": str(path.parent), **environ})
    started.learn()
    return started


def request(task_id: str, **headers: Any) -> Request:
    """A message that has come to a worker."""

    message = SimpleNamespace(
        headers={"id": task_id, "task": "shop.charge", **headers},
        body=json.dumps([[], {}, {}]),
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={},
        properties={},
        payload=[[], {}, {}],
    )
    return Request(message, app=APP, task=charge, hostname="x@here", eventer=SimpleNamespace(enabled=False))


def test_a_revoked_task_stays_revoked_after_a_restart(path: Path) -> None:
    start(path)
    assert "flagged as revoked" in Panel.data["revoke"](PANEL, task_id=["a", "b"])["ok"]
    start(path)
    assert request("a").revoked()
    assert request("b").revoked()
    assert not request("c").revoked()


@pytest.mark.parametrize("command", ["revoke", "terminate"])
def test_every_command_that_revokes_is_kept(path: Path, command: str) -> None:
    start(path)
    Panel.data[command](PANEL, task_id="a", signal="TERM")
    start(path)
    assert request("a").revoked()


@pytest.mark.parametrize("headers", [{"order": ["5", "6"]}, ["order=5"]])
def test_stamps_are_kept_too(path: Path, headers: Any) -> None:
    start(path)
    Panel.data["revoke_by_stamped_headers"](PANEL, headers=headers)
    start(path)
    assert request("a", stamped_headers=["order"], stamps={"order": "5"}).revoked()
    assert not request("a", stamped_headers=["order"], stamps={"order": "7"}).revoked()


def test_a_twin_learns_what_the_others_were_told_while_it_runs(path: Path) -> None:
    twin = start(path)
    Store(path, KEPT, 9).add([(ID, "a"), ("order", "5")])  # another process
    assert not request("a").revoked()
    twin.learn()
    assert request("a").revoked()
    assert request("b", stamped_headers=["order"], stamps={"order": "5"}).revoked()


def test_it_looks_no_more_often_than_it_needs_to(path: Path) -> None:
    twin = start(path)
    Store(path, KEPT, 9).add([(ID, "a")])
    twin.learn(pause=60)
    assert not request("a").revoked()


def test_what_many_workers_are_told_is_kept_once(path: Path) -> None:
    for _worker in range(3):
        start(path)
        Panel.data["revoke"](PANEL, task_id="a")
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM revoked").fetchone() == (1,)
    database.close()


def test_it_is_kept_for_a_year_and_as_many_as_celery_keeps(path: Path) -> None:
    store = Store(path, KEPT, 9)
    store.add([(ID, "old"), (ID, "a"), (ID, "b"), (ID, "c")])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE revoked SET at = ? WHERE value = '\"old\"'", (time.time() - 366 * 86400,))
        database.execute("UPDATE revoked SET at = ? WHERE value = '\"b\"'", (time.time() - 364 * 86400,))
    database.close()
    assert Store(path, KEPT, 2).news() == [(ID, "b"), (ID, "c")]


def test_celery_does_not_forget_it_after_three_hours(path: Path) -> None:
    start(path)
    Panel.data["revoke"](PANEL, task_id="a")
    state.revoked.purge(now=time.monotonic() + 4 * 3600)  # what an `inspect hello` does
    assert request("a").revoked()


def test_who_wants_another_time_gets_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "REVOKE_EXPIRES", 60.0)
    start(path, CELERY_WORKER_REVOKE_EXPIRES="60")
    Panel.data["revoke"](PANEL, task_id="a")
    state.revoked.purge(now=time.monotonic() + 61)
    assert not request("a").revoked()


def test_what_cannot_be_kept_is_said_to_who_revokes(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start(path)
    path.unlink()
    path.mkdir()
    with caplog.at_level(logging.ERROR):
        answer = Panel.data["revoke"](PANEL, task_id="a")
    assert answer["error"].endswith("unable to open database file")
    assert request("a").revoked()


def test_a_file_that_cannot_be_read_is_said_and_harms_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("no database at all, but long enough to be looked at as one" * 20)
    with caplog.at_level(logging.ERROR):
        start(path)
    assert "What is revoked is forgotten when this worker restarts" in caplog.text
    assert "ok" in Panel.data["revoke"](PANEL, task_id="a")
    assert request("a").revoked()


def test_without_sqlite_it_is_as_celery_has_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "celeryops_runtime.revoked", None)
    with caplog.at_level(logging.ERROR):
        start(path)
    assert "What is revoked is forgotten when this worker restarts" in caplog.text
    Panel.data["revoke"](PANEL, task_id="a")
    assert request("a").revoked()


def test_a_file_that_is_lost_while_it_runs_is_said_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    twin = start(path)
    path.unlink()
    path.mkdir()
    with caplog.at_level(logging.ERROR):
        twin.learn()
        twin.learn()
    assert caplog.text.count("cannot be read, so is not known here") == 1


def test_without_systemd_it_is_as_celery_has_it() -> None:
    revocations.install({}).learn()
    Panel.data["revoke"](PANEL, task_id="a")
    assert request("a").revoked()
    assert state.revoked.expires == state.REVOKE_EXPIRES


ID_OF_IT = "11111111-2222-3333-4444-555555555555"
ASK = "from shop import *; print(app.control.{}, timeout=10))"
SEND = "from shop import *; print(charge.apply_async(['A1'], task_id={!r}).id)"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_twin_knows_what_a_killed_worker_was_told(host: Host, pool: str) -> None:
    (host.path / "state").mkdir()
    environment = {"STATE_DIRECTORY": str(host.path / "state")}
    worker = start_worker(host, pool, **environment)
    start_worker(host, pool, node="critical-1-next@here", **environment)
    told = host.python(ASK.format(f"revoke({ID_OF_IT!r}, destination=['critical-1@here'], reply=True"))
    assert "flagged as revoked" in told
    worker.kill()
    worker.wait()

    def wait_for(text: str, where: Callable[[], str]) -> None:
        until = time.monotonic() + 20
        while text not in where():
            assert time.monotonic() < until, host.log

    wait_for(ID_OF_IT, lambda: host.python(ASK.format("broadcast('revoked', reply=True, limit=1")))
    host.python(SEND.format(ID_OF_IT))
    wait_for(f"Discarding revoked task: shop.charge[{ID_OF_IT}]", lambda: host.log)
    assert "charging" not in host.log


def test_it_is_known_before_the_first_task_is_taken() -> None:
    done = []

    class Consumer:
        """Of Celery, whose step Tasks begins with this."""

        Blueprint = CelerysConsumer.Blueprint

        def update_strategies(self) -> None:
            done.append("strategies")

    learning: Any = SimpleNamespace(learn=lambda: done.append("learnt"))
    extended: Any = consumer.consumer_class(Consumer, Watchdog(Notifier({})), Options(), learning)
    extended().update_strategies()
    assert done == ["learnt", "strategies"]
