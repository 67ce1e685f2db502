# SPDX-License-Identifier: GPL-3.0-or-later
"""Events arrive at a tracker that speaks Sentry's protocol."""

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from celeryops_runtime.credentials import Sentry
from celeryops_runtime.sentry import options

from .conftest import Host
from .test_worker import start_worker


class Tracker(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.events: list[str] = []
        self.arrived = threading.Event()

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server_port}/1"


class Handler(BaseHTTPRequestHandler):
    server: Tracker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.events.append((gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode())
        self.server.arrived.set()
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    with Tracker() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_test_event_is_proven_to_arrive(host: Host, tracker: Tracker) -> None:
    host.credential("sentry", dsn=tracker.dsn, environment="test", sample_rate=0)

    done = host.run("event", CELERYOPS_RELEASE="r7", CELERYOPS_COMMIT="1a2b")

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 32
    assert done.stdout.strip() in tracker.events[0]
    assert '"release":"r7"' in tracker.events[0]
    assert '"environment":"test"' in tracker.events[0]
    assert '"commit":"1a2b"' in tracker.events[0]


def test_a_refused_event_is_a_failure(host: Host, tracker: Tracker) -> None:
    tracker.status = 403
    host.credential("sentry", dsn=tracker.dsn)
    done = host.run("event")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the tracker did not take the event (status_403)" in done.stderr


def test_an_unreachable_tracker_is_a_failure(host: Host) -> None:
    host.credential("sentry", dsn="http://key@127.0.0.1:1/1")
    done = host.run("event")
    assert done.returncode == 1
    assert "did not take the event (network" in done.stderr
    assert "key" not in done.stderr


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_failed_task_is_reported_with_its_stack_and_without_its_secrets(
    host: Host, tracker: Tracker, pool: str, stop: Callable[..., int]
) -> None:
    host.credential("sentry", dsn=tracker.dsn)
    worker = start_worker(host, pool, CELERYOPS_RELEASE="r7", CELERYOPS_COMMIT="1a2b")

    task_id = host.python(
        "from shop import *; r = charge.delay('bad'); r.get(propagate=False, timeout=20); print(r.id)"
    )

    assert tracker.arrived.wait(10)
    stop(worker)
    (event,) = [event for event in tracker.events if "no money" in event]
    assert f'"celery_task_id":"{task_id}"' in event
    assert '"release":"r7"' in event
    assert '"commit":"1a2b"' in event
    assert '"function":"charge"' in event
    assert '"vars"' not in event
    assert '"args":["bad"]' not in event


def test_a_client_of_the_apps_own_is_kept(host: Host, tracker: Tracker) -> None:
    module = (host.path / "shop.py").read_text()
    (host.path / "shop.py").write_text("import sentry_sdk; sentry_sdk.init(release='own')\n" + module)
    host.credential("sentry", dsn=tracker.dsn)
    start_worker(host)

    host.python("from shop import *; charge.delay('bad').get(propagate=False, timeout=20)")

    assert tracker.arrived.wait(10)
    assert '"release":"own"' in tracker.events[0]


def test_nothing_secret_is_asked_for() -> None:
    made = options(Sentry("http://key@127.0.0.1:1/1"), None)
    assert made["include_local_variables"] is False
    assert made["send_default_pii"] is False
    assert made["integrations"][0].monitor_beat_tasks is False
