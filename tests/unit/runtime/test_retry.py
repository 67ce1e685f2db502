# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a task whose retry, or whose follow-up, the broker does not take."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, signals
from celery.app.amqp import AMQP
from celery.app.task import Task
from celery.app.trace import build_tracer
from celery.exceptions import Reject
from celeryops_runtime import retry
from kombu import Connection
from kombu.connection import ConnectionPool
from kombu.exceptions import EncodeError, OperationalError

Run = Callable[..., Any]
LIMIT = 1.5


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], None]]]:
    """Celery as a worker extends it; what is put into the list is done instead of sending a message."""
    for name in ("CELERY_LOADER", "CELERY_BROKER_URL", "CELERYOPS_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    instead: list[Callable[[], None]] = []
    monkeypatch.setattr(AMQP, "send_task_message", property(lambda _: lambda *_, **__: instead[0]()))
    # Each is put back afterwards.
    for owner, name in ((Task, "retry"), (AMQP, "_retry_publish"), (ConnectionPool, "replace")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    retry.install(LIMIT)
    yield instead
    signals.task_prerun.disconnect(dispatch_uid=retry._BEGAN)


@pytest.fixture
def run() -> Run:
    """Run a task as a process of the pool does."""

    def traced(acks_late: bool = True, again: bool = True, request: Any = None, **options: Any) -> Any:
        app = Celery("x", broker="memory://", backend=None, set_as_current=False)

        @app.task(bind=True, name="x.task", shared=False, acks_late=acks_late, **options)  # type: ignore[untyped-decorator]
        def task(self: Any) -> None:
            if again:
                raise self.retry(countdown=1)

        app.finalize()
        return build_tracer("x.task", task, app=app)("id", (), {}, {"delivery_info": {}, **(request or {})})

    return traced


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def hang() -> None:
    """What a broker with an alarm does, until the process is killed."""
    time.sleep(30)


def rejection(result: Any) -> Reject:
    error = result.info.retval
    assert isinstance(error, Reject)
    return error


@pytest.mark.parametrize(
    "error",
    [SoftTimeLimitExceeded(), EncodeError(SoftTimeLimitExceeded()), OperationalError("gone"), ConnectionResetError()],
)
def test_a_retry_that_is_not_taken_leaves_the_task_in_its_queue(send: Any, run: Run, error: Exception) -> None:
    send.append(failing(error))

    assert rejection(run()).requeue is True


def test_a_retry_that_can_never_be_sent_is_not_tried_without_end(send: Any, run: Run) -> None:
    send.append(failing(EncodeError("no JSON")))

    assert rejection(run()).requeue is False


def test_what_is_acknowledged_already_fails_instead(send: Any, run: Run) -> None:
    send.append(failing(OperationalError("gone")))

    assert rejection(run(acks_late=False)).requeue is False


def test_a_retry_that_is_taken_is_a_retry(send: Any, run: Run) -> None:
    send.append(lambda: None)

    assert run().info.state == "RETRY"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), "nothing strikes later"
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


@pytest.mark.parametrize(
    "own", [{}, {"time_limit": LIMIT}, {"request": {"timelimit": [LIMIT, None]}}], ids=["worker", "task", "message"]
)
def test_a_retry_ends_before_the_hard_limit(send: Any, run: Run, own: dict[str, Any]) -> None:
    send.append(hang)
    began = time.monotonic()

    assert rejection(run(**own)).requeue is True
    assert time.monotonic() - began < LIMIT


def test_a_thread_of_the_pool_has_no_limit(send: Any, run: Run) -> None:
    released, waits = threading.Event(), [True]
    send.append(lambda: waits.append(released.wait(30)))
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(run()))
    thread.start()
    thread.join(0.1)
    released.set()
    thread.join(30)

    assert done[0].info.state == "RETRY"


CHAIN = {"chain": [{"task": "x.next", "args": (), "kwargs": {}, "options": {}, "immutable": True}]}


@pytest.mark.parametrize("instead", [hang, failing(OperationalError("gone"))])
def test_a_task_whose_next_step_is_not_taken_goes_back(send: Any, run: Run, instead: Any) -> None:
    send.append(instead)

    with pytest.raises(Reject) as rejected:
        run(again=False, request=CHAIN)

    assert rejected.value.requeue is True


def test_a_next_step_of_what_is_acknowledged_already_fails_visibly(send: Any, run: Run) -> None:
    send.append(failing(OperationalError("gone")))

    assert run(acks_late=False, again=False, request=CHAIN).info.state == "FAILURE"


def test_a_broken_connection_is_not_closed_politely(send: Any) -> None:
    ours, brokers = socket.socketpair()
    pool = Connection("amqp://localhost").Pool(limit=1)
    connection = pool.acquire()

    class Silent:
        """A connection whose broker does not answer."""

        client = None

        _transport = SimpleNamespace(sock=ours)

        def collect(self) -> None:
            ours.close()

        def close(self) -> None:
            raise AssertionError("it waits for an answer")

    assert connection.transport
    connection._connection = Silent()
    pool.replace(connection)
    connection.release()

    assert brokers.recv(1) == b"", "it is closed all the same"
    assert pool.acquire() is connection, "and takes part again"
    assert connection._connection is None
    brokers.close()
