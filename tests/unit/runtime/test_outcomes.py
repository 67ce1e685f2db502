# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a task whose state or result cannot be stored, at every place where Celery stores one."""

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import MessageNacked
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, _state, beat, chord, signals, signature
from celery.app import trace
from celery.app.amqp import AMQP
from celery.app.task import Task
from celery.backends.base import KeyValueStoreBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import BackendGetMetaError, Reject
from celery.worker.consumer import consumer
from celeryops_runtime import outcomes, readiness, retry
from celeryops_runtime.deadline import MARGIN, ended_in
from celeryops_runtime.notify import Notifier
from celeryops_runtime.options import Options
from celeryops_runtime.watchdog import Watchdog
from kombu.connection import ConnectionPool
from kombu.exceptions import EncodeError
from kombu.exceptions import OperationalError as NotSent
from redis.exceptions import AuthenticationError, OutOfMemoryError
from redis.exceptions import ConnectionError as NoConnection

Run = Callable[..., Any]
LIMIT = 1.4
TASK = "00000000-0000-4000-8000-000000000001"


class OperationalError(Exception):
    """Django's, which Celery does not know."""


ERRORS = [
    ConnectionRefusedError("nobody listens"),
    NoConnection("the connection was closed"),
    OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    AuthenticationError("invalid username-password pair or user is disabled."),
    OperationalError("could not connect to server"),
]
pytestmark = [
    # Celery's own, where an error is not one of the task's code.
    pytest.mark.filterwarnings("ignore:Exception raised outside body"),
    # An interruption that strikes in the callback of a weak reference has no effect, and comes again.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__module__ + type(error).__name__)


@dataclass
class Place:
    """Where results are kept."""

    kept: dict[bytes, Any] = field(default_factory=dict)
    #: What is raised, by which operations, for how many of them.
    error: Exception | None = None
    fails: Callable[[str, Any], bool] = lambda operation, value: True
    times: float = float("inf")
    hangs: bool = False

    def ask(self, operation: str, value: Any = None) -> None:
        if self.error and self.times > 0 and self.fails(operation, value):
            self.times -= 1
            if self.hangs:
                time.sleep(30)
            raise self.error

    def state(self, task: str = TASK) -> str:
        """What is known of a task."""
        content = self.kept.get(b"celery-task-meta-" + task.encode(), b"")
        found = [name for name in ("STARTED", "RETRY", "SUCCESS", "FAILURE") if name.encode() in content]
        return found[0] if found else ""


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def backend(place: Place) -> type:
    class Backend(KeyValueStoreBackend):  # type: ignore[misc]
        implements_incr = True

        def get(self, key: bytes) -> Any:
            place.ask("get")
            return place.kept.get(key)

        def mget(self, keys: Any) -> Any:
            return [self.get(key) for key in keys]

        def set(self, key: bytes, value: Any) -> None:
            place.ask("set", value)
            place.kept[key] = value.encode() if isinstance(value, str) else value

        def incr(self, key: bytes) -> int:
            place.ask("incr")
            place.kept[key] = place.kept.get(key, 0) + 1
            return int(place.kept[key])

        def expire(self, key: bytes, value: Any) -> None:
            place.ask("expire")

        def delete(self, key: bytes) -> None:
            place.ask("delete")
            place.kept.pop(key, None)

    return Backend


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Celery as a worker extends it, and the names of the tasks that are sent."""
    for name in ("CELERY_LOADER", "CELERY_BROKER_URL", "CELERYOPS_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    names: list[str] = []
    monkeypatch.setattr(
        AMQP, "send_task_message", property(lambda _: lambda producer, name, message, **_: names.append(name))
    )
    for owner, name in (
        (Task, "retry"),
        (AMQP, "_retry_publish"),
        (ConnectionPool, "replace"),
        (Celery, "_get_backend"),
        (trace, "build_tracer"),
        (consumer, "build_tracer"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name, None), raising=False)  # each is put back afterwards
    for name, seconds in (("PAUSE", 0.01), ("BRIEF", 0.2), ("PATIENCE", 0.4)):
        monkeypatch.setattr(outcomes, name, seconds)
    outcomes.OUTAGE.end()
    outcomes._later.clear()
    yield names
    outcomes.OUTAGE.end()
    signals.task_prerun.disconnect(dispatch_uid=retry._BEGAN)


@pytest.fixture
def app(sent: list[str], backend: type, monkeypatch: pytest.MonkeyPatch) -> Celery:
    monkeypatch.setattr(Celery, "_get_backend", lambda self: backend(app=self, url="place://"))
    app = Celery("x", broker="memory://", set_as_current=False)
    app.conf.update(task_acks_late=True, result_extended=True)
    retry.install(LIMIT)
    outcomes.install(app, LIMIT)
    return app


@pytest.fixture
def ran() -> list[str]:
    """What the tasks' own code did."""
    return []


@pytest.fixture
def run(app: Celery, ran: list[str]) -> Run:
    """Run a task as a process of the pool does."""

    def traced(body: Callable[[Any], Any] = lambda self: 42, request: Any = None, **options: Any) -> Any:
        for name in ("x.task", "x.next"):
            app._tasks.pop(name, None)

        @app.task(bind=True, name="x.task", shared=False, **options)  # type: ignore[untyped-decorator]
        def task(self: Any) -> Any:
            ran.append("began")
            return body(self)

        @app.task(name="x.next", shared=False)  # type: ignore[untyped-decorator]
        def following(*_: Any) -> None:
            pass

        app.finalize()
        told = {"id": TASK, "delivery_info": {}, "task": "x.task", **(request or {})}
        result = trace.build_tracer("x.task", task, app=app)(TASK, (), {}, told)
        pickle.dumps(result.retval)  # as the pool sends it to the main process
        return result

    return traced


def goes_back(result: Any) -> bool:
    """Whether the main process gives its message back to the queue."""
    error = result.info and result.info.retval
    return isinstance(error, Reject) and error.requeue is True


def away(place: Place, error: Exception = ERRORS[0], **how: Any) -> None:
    place.error = error
    for name, value in how.items():
        setattr(place, name, value)


def again(self: Any) -> None:
    raise self.retry(countdown=1)


def fail(self: Any) -> None:
    raise ValueError("no money")


# --- before the task's code -------------------------------------------------------------------------------------------


@each_error
def test_what_cannot_be_stored_as_started_does_not_begin_and_goes_back(
    place: Place, run: Run, ran: list[str], error: Exception
) -> None:
    away(place, error)
    assert goes_back(run(track_started=True))
    assert ran == []


def test_a_full_redis_answers_and_stores_nothing(place: Place, run: Run, ran: list[str]) -> None:
    away(place, ERRORS[2], fails=lambda operation, value: operation == "set")
    assert goes_back(run(track_started=True))
    assert ran == []


def test_a_moment_without_the_backend_delays_the_task(place: Place, run: Run, ran: list[str]) -> None:
    away(place, times=2)
    assert run(track_started=True).info is None
    assert (ran, place.state()) == (["began"], "SUCCESS")


def test_started_of_a_task_that_was_acknowledged_before_is_not_waited_for(place: Place, run: Run) -> None:
    ran: list[str] = []
    away(place)
    result = run(lambda self: ran.append("ran"), track_started=True, acks_late=False)
    assert ran == ["ran"], "it runs, as nobody else would run it"
    assert not goes_back(result)


@each_error
def test_what_may_have_been_done_before_is_not_acknowledged_unasked(
    app: Celery, place: Place, run: Run, ran: list[str], error: Exception
) -> None:
    app.conf.worker_deduplicate_successful_tasks = True
    away(place, error)
    assert goes_back(run(request={"delivery_info": {"redelivered": True}}))
    assert ran == []


def test_while_others_cannot_store_no_task_begins_that_would_have_to(run: Run, ran: list[str]) -> None:
    outcomes.OUTAGE.begin(ERRORS[0])
    assert goes_back(run())
    assert goes_back(run(ignore_result=True, request={"chord": {"task": "x.next"}, "group": "g"}))
    assert ran == []
    assert run(ignore_result=True).info is None
    assert run(request={"ignore_result": True}).info is None
    assert ran == ["began", "began"]


def test_what_goes_back_is_not_handed_out_again_at_once(run: Run) -> None:
    outcomes.OUTAGE.begin(ERRORS[0])
    began = time.monotonic()
    assert goes_back(run())
    assert LIMIT - MARGIN <= time.monotonic() - began < LIMIT


def test_it_waits_no_longer_than_the_backend_is_away(run: Run) -> None:
    outcomes.OUTAGE.begin(ERRORS[0])
    began = time.monotonic()
    threading.Timer(0.2, outcomes.OUTAGE.end).start()
    assert goes_back(run(time_limit=60))
    assert 0.2 <= time.monotonic() - began < 30


# --- after it ---------------------------------------------------------------------------------------------------------


@each_error
@pytest.mark.parametrize("body", [lambda self: 42, fail], ids=["success", "failure"])
def test_an_end_that_cannot_be_stored_brings_the_task_back(place: Place, run: Run, body: Any, error: Exception) -> None:
    away(place, error)
    assert goes_back(run(body))
    assert outcomes.OUTAGE.since
    assert type(error).__name__ in outcomes.OUTAGE.why


@pytest.mark.parametrize(("body", "state"), [(lambda self: 42, "SUCCESS"), (fail, "FAILURE")])
def test_an_end_is_stored_when_the_backend_is_back(
    place: Place, run: Run, ran: list[str], body: Any, state: str
) -> None:
    away(place, times=5)
    assert not goes_back(run(body))
    assert (ran, place.state()) == (["began"], state)


def test_a_result_that_the_backend_refuses_while_it_keeps_others_is_the_tasks_fault(place: Place, run: Run) -> None:
    away(
        place, OperationalError("too large"), fails=lambda operation, value: operation == "set" and "big" in str(value)
    )
    assert run(lambda self: "big", time_limit=10).info.state == "FAILURE"
    assert place.state() == "FAILURE"
    assert not outcomes.OUTAGE.since


def test_a_silent_backend_is_left_before_the_hard_limit(place: Place, run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr(outcomes, "PATIENCE", 30)
    away(place, hangs=True)
    began = time.monotonic()
    assert goes_back(run())
    assert time.monotonic() - began < LIMIT


@pytest.mark.parametrize("track_started", [False, True])
def test_what_one_process_learns_of_a_silent_backend_all_know(place: Place, run: Run, track_started: bool) -> None:
    away(place, hangs=True)
    assert goes_back(run(track_started=track_started))
    assert outcomes.OUTAGE.since, "or each task would go back again and again, until it is among the dead"


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), EncodeError(SoftTimeLimitExceeded())], ids=repr)
def test_the_soft_limit_does_not_end_the_waiting(place: Place, run: Run, error: Exception) -> None:
    away(place, error, times=1)
    assert run().info is None
    assert place.state() == "SUCCESS"


@pytest.fixture
def repeating(app: Celery, backend: type) -> Any:
    """Asked again and again by Celery itself, as an application may want it."""

    class Repeating(backend):  # type: ignore[misc, valid-type]
        def exception_safe_to_retry(self, error: Exception) -> bool:
            return isinstance(error, OSError)

    app.conf.result_backend_always_retry = True
    app._local.backend = outcomes.keep(Repeating(app=app))
    return app.backend


@pytest.mark.usefixtures("repeating")
@pytest.mark.parametrize("track_started", [False, True])
def test_a_backend_that_celery_asks_without_end_is_known_to_be_away(
    place: Place, run: Run, track_started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "BRIEF", 5)
    away(place, ConnectionRefusedError("nobody listens"))
    assert goes_back(run(track_started=track_started, time_limit=3))
    assert outcomes.OUTAGE.why == "ConnectionRefusedError: nobody listens"


def test_the_main_process_does_not_ask_without_end(
    place: Place, repeating: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "BRIEF", 5)
    away(place, ConnectionRefusedError("nobody listens"))
    with pytest.raises(BackendGetMetaError), ended_in(5):
        repeating.get_state(TASK)


def test_what_ignores_its_result_needs_no_backend(place: Place, run: Run) -> None:
    away(place)
    assert run(ignore_result=True).info is None
    assert run(fail, ignore_result=True).info.state == "FAILURE"


def test_an_end_of_a_task_that_was_acknowledged_before_is_said(place: Place, run: Run, caplog: Any) -> None:
    away(place)
    assert run(acks_late=False).info is None
    assert "could not be stored" in next(record.message for record in caplog.records if record.levelname == "ERROR")


# --- in between -------------------------------------------------------------------------------------------------------


@each_error
def test_a_retry_that_was_sent_is_enough(place: Place, run: Run, sent: list[str], error: Exception) -> None:
    away(place, error)
    assert run(again).info.state == "RETRY"
    assert sent == ["x.task"]


def test_a_state_of_the_tasks_own_only_informs(place: Place, run: Run) -> None:
    away(place)

    def body(self: Any) -> None:
        self.update_state(state="PROGRESS", meta={"done": 3})
        place.error = None

    assert run(body).info is None


def test_an_outcome_that_the_code_stores_itself_ends_no_task_that_cannot_go_back(place: Place, run: Run) -> None:
    ran: list[str] = []
    away(place)

    def body(self: Any) -> None:
        self.update_state(state="SUCCESS", meta=42)
        ran.append("on")

    assert not goes_back(run(body, acks_late=False))
    assert ran == ["on"]


@pytest.mark.parametrize("error", [MessageNacked(), NotSent("nobody listens")], ids=repr)
def test_a_failed_tasks_callback_that_cannot_be_sent_brings_the_task_back(
    app: Celery, run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    @app.task(name="x.told", shared=False)  # type: ignore[untyped-decorator]
    def told(task_id: str) -> None:
        """With one argument it is sent, with more it is called at once."""

    monkeypatch.setattr(AMQP, "send_task_message", property(lambda _: refuse))
    result = run(fail, request={"errbacks": [dict(told.s())]}, time_limit=10)
    assert goes_back(result)
    assert not outcomes.OUTAGE.since, "the backend is not at fault"


def test_a_task_that_sends_another_need_not_hear_of_its_result(
    app: Celery, backend: type, place: Place, run: Run, sent: list[str]
) -> None:
    class Listening(backend):  # type: ignore[misc, valid-type]
        def on_task_call(self, producer: Any, task_id: str) -> Any:
            """As Redis does in a pool of threads."""
            place.ask("subscribe")

    app._local.backend = outcomes.keep(Listening(app=app))
    away(place, ERRORS[1], fails=lambda operation, value: operation == "subscribe")
    assert run(again).info.state == "RETRY"
    assert sent == ["x.task"]


# --- chords -----------------------------------------------------------------------------------------------------------


def part(app: Celery, number: int = 1) -> dict[str, Any]:
    """The request of one of a chord's parts."""
    body = signature("x.next", app=app)
    return {"id": TASK, "group": "g", "group_index": 0, "chord": {**body, "chord_size": number}}


@pytest.fixture
def group(app: Celery) -> None:
    """A chord of one part is on its way."""
    app.GroupResult("g", [app.AsyncResult(TASK)]).save()


@each_error
@pytest.mark.parametrize("operation", ["get", "set", "incr"])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.usefixtures("group")
def test_a_part_that_cannot_be_counted_goes_back(
    app: Celery, place: Place, run: Run, sent: list[str], operation: str, ignored: bool, error: Exception
) -> None:
    away(place, error, fails=lambda asked, value: asked == operation or asked == "set")
    assert goes_back(run(ignore_result=ignored, request=part(app))) or (ignored and operation == "set")
    assert sent == [] or (ignored and operation == "set")


@pytest.mark.usefixtures("group")
def test_a_part_is_counted_when_the_backend_is_back(app: Celery, place: Place, run: Run, sent: list[str]) -> None:
    away(place, fails=lambda operation, value: operation != "expire", times=4)
    assert run(request=part(app)).info is None
    assert sent == ["x.next"]


@each_error
@pytest.mark.parametrize("times", [3, float("inf")])
def test_a_chord_that_the_code_sends_is_sent_or_the_task_goes_back(
    app: Celery, place: Place, run: Run, sent: list[str], times: float, error: Exception
) -> None:
    away(place, error, times=times)

    def body(self: Any) -> None:
        chord([signature("x.next", app=app)], signature("x.next", app=app), app=app).apply_async()

    assert goes_back(run(body, ignore_result=True)) == (times > 3)
    assert sent == ([] if times > 3 else ["x.next"])


@each_error
def test_a_next_step_that_is_a_chord_is_not_lost(
    app: Celery, place: Place, run: Run, sent: list[str], error: Exception
) -> None:
    next_step = chord([signature("x.next", app=app)], signature("x.next", app=app), app=app)
    away(place, error)
    assert goes_back(run(request={"chain": [dict(next_step)]}))
    assert sent == []
    place.error = None
    outcomes.OUTAGE.end()
    run(request={"chain": [dict(next_step)]})
    assert sent == ["x.next"]


# --- outside of a run -------------------------------------------------------------------------------------------------


@each_error
@pytest.mark.parametrize("mark", ["mark_as_failure", "mark_as_retry", "mark_as_revoked"])
def test_the_main_process_stores_later_what_it_cannot_now(
    app: Celery, place: Place, mark: str, error: Exception
) -> None:
    away(place, error)
    for _ in range(2):
        getattr(app.backend, mark)(TASK, ValueError("killed"))
    assert outcomes.OUTAGE.since
    outcomes.await_end(app)
    assert outcomes._asking is not None
    outcomes._asking.join(0.1)
    assert outcomes.OUTAGE.since
    place.error = None
    outcomes._asking.join(10)
    assert not outcomes.OUTAGE.since
    assert place.kept
    assert outcomes._later == []


def test_the_main_process_does_not_wait_for_a_silent_backend(app: Celery, place: Place) -> None:
    away(place, hangs=True)
    began = time.monotonic()
    for _ in range(10):
        app.backend.mark_as_failure(TASK, ValueError("killed"))
    assert time.monotonic() - began < 1


def test_the_main_process_does_not_wait_to_hear_of_a_task_whose_process_it_lost(app: Celery, place: Place) -> None:
    away(place, hangs=True)
    began = time.monotonic()
    with pytest.raises(SoftTimeLimitExceeded):
        app.backend.get_state(TASK)
    assert time.monotonic() - began < 1


def test_a_thread_of_the_pool_waits_for_so_long_only(place: Place, run: Run) -> None:
    away(place)
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(goes_back(run(time_limit=None))))
    thread.start()
    thread.join(20)
    assert done == [True]


def test_beat_sends_while_the_result_backend_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("x", broker="memory://", backend="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.redis_retry_on_timeout = False
    monkeypatch.setattr(_state, "_task_join_will_block", False)
    watchdog = Watchdog(Notifier({}))
    service = SimpleNamespace(scheduler=beat.Scheduler(app, schedule={}, lazy=True))
    for signal, receiver in readiness._service(watchdog, Options()):
        if signal is signals.beat_init:
            receiver(sender=service)
    assert app.send_task("x.task").id


@pytest.mark.parametrize("url", [None, "rpc://", "cache+memory://", "redis://127.0.0.1:1/0"])
def test_every_backend_is_kept_as_far_as_it_goes(sent: list[str], url: str | None) -> None:
    app = Celery("x", broker="memory://", backend=url, set_as_current=False)
    outcomes.install(app, None)
    assert app.backend.as_uri()
    assert app.backend is outcomes.keep(app.backend)
    assert "store_result" in vars(app.backend)


def test_who_asks_leaves_nothing_behind(app: Celery, place: Place) -> None:
    outcomes.ask(app.backend)
    assert place.kept == {}


def test_replies_to_the_caller_are_not_tried_out(app: Celery) -> None:
    assert outcomes._answers(RPCBackend(app=app, url="rpc://"))
