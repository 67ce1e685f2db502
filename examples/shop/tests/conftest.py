# SPDX-License-Identifier: GPL-3.0-or-later
"""Every test has an empty database of its own; tasks run eagerly, unless a test asks for the `worker`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.contrib.testing.worker import start_worker

from shop.celery import app

# For tests only: calling a task runs it here and now, without a broker.
app.conf.update(task_always_eager=True, broker_url="memory://", result_backend="cache+memory://")


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty database."""
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.sqlite3"))
    return tmp_path / "shop.sqlite3"


@pytest.fixture
def not_eager() -> Iterator[None]:
    """Tasks are sent to the in-memory broker."""
    app.conf.task_always_eager = False
    yield
    app.conf.task_always_eager = True


@pytest.fixture(scope="session")
def worker_thread() -> Iterator[None]:
    """A real worker in a thread, for what eager tasks cannot show: results, events, chords over queues."""
    with start_worker(app, pool="solo", perform_ping_check=False, queues=["critical", "default", "bulk"]):
        yield


@pytest.fixture
def worker(worker_thread: None, not_eager: None) -> None:
    """Tasks are sent to that worker."""
