# SPDX-License-Identifier: GPL-3.0-or-later
"""A task whose state or result cannot be stored is not lost: it waits, or goes back to its queue.

Celery stores STARTED before a task's code runs, and its end, and the count of its chord, before the message is
acknowledged. An error of the result backend there counts as one of the task, whose message is acknowledged: code that
never ran, or a chord whose body never comes, and nobody is told. So, while a task is traced:

- What the end of a task needs, and a chord that its code sends, is tried again until the backend is there, but only as
  long as the task's hard limit allows; then the task goes back to its queue. Whether the backend or the result is at
  fault, the backend itself is asked: it is to keep something small.
- That waiting is ended by ``GoBack``, which no ``except Exception`` of Celery's takes for an error of the task.
- A state that only informs (RETRY, a task's own) is tried for a moment; the task goes on without it.
- While one process of a worker cannot store, none of them begins a task that would have to, and the main process
  takes no further ones from the broker: whatever runs now would only run again. See ``consumer``.
- The main process itself never waits for the backend: what it has to store, it stores later.
"""

import contextlib
import mmap
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeVar
from uuid import uuid4

from amqp.exceptions import AMQPError, MessageNacked
from billiard.einfo import ExceptionInfo
from billiard.exceptions import SoftTimeLimitExceeded
from celery import signals, states
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import BackendError, InvalidTaskError, Reject
from celery.utils.log import get_logger
from kombu.exceptions import EncodeError, OperationalError

from celeryops_runtime.deadline import ended_in, over

logger = get_logger(__name__)
T = TypeVar("T")

#: Seconds between two attempts; how many fail before a backend that keeps other things is not at fault.
PAUSE, TRIES = 0.5, 3
#: Seconds that a state may take which only informs, and those that a run without a hard limit waits.
BRIEF, PATIENCE = 3.0, 60.0
#: What says that the broker did not take the message. Anything else (arguments that JSON does not know, a queue that
#: is not declared) would fail in the same way again, on Redis without end.
UNPUBLISHED = (SoftTimeLimitExceeded, OperationalError, AMQPError, MessageNacked, OSError)
#: What fails in the same way whatever the backend does.
_CONTENT = (EncodeError, MemoryError)
#: Which outcomes Celery stores, outside of a task's run too.
_MARKS = ("mark_as_done", "mark_as_failure", "mark_as_retry", "mark_as_revoked")
#: What it stores of a chord that a task's code sends.
_CHORD = ("apply_chord", "set_chord_size")


def cause(error: BaseException) -> BaseException:
    """What a backend met that Celery asked several times (``result_backend_always_retry``, and always SQLAlchemy's)."""
    return error.__cause__ if isinstance(error, BackendError) and error.__cause__ else error


def said(error: BaseException) -> str:
    """An error in words, without what was to be stored.

    redis-py's ``repr`` shows only its kind, its text the whole command, and SQLAlchemy's the values of the statement.
    """
    error = cause(error)
    if isinstance(error, SoftTimeLimitExceeded):
        return "it does not answer in time"
    text = str(error).rpartition("of pipeline caused error: ")[2].partition("\n[SQL: ")[0]
    return f"{type(error).__name__}: {text}"


def struck(error: BaseException) -> bool:
    """Whether a time limit struck while kombu encoded something: it calls that an error of what was to be encoded."""
    return isinstance(error, EncodeError) and any(isinstance(each, SoftTimeLimitExceeded) for each in error.args)


class GoBack(BaseException):
    """This run cannot be brought to its end: its message goes back to the queue."""


class Outage:
    """That results cannot be stored, and why: known to the main process and to those that it forks."""

    _FORM = struct.Struct("d400s")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._FORM.size)

    @property
    def since(self) -> float:
        """When it began, in seconds since 1970; 0: there is none."""
        return float(self._FORM.unpack(self._memory[:])[0])

    @property
    def why(self) -> str:
        """The first error."""
        return bytes(self._FORM.unpack(self._memory[:])[1]).rstrip(b"\0").decode(errors="ignore")

    def begin(self, error: BaseException) -> None:
        """Somebody could not store something."""
        if not self.since:
            self._memory[:] = self._FORM.pack(time.time(), said(error).encode()[:400])

    def end(self) -> None:
        """Somebody could again."""
        self._memory[:] = bytes(self._FORM.size)


OUTAGE = Outage()


@dataclass
class Run:
    """One task in this thread, from before its first state to after its last."""

    task: Any
    #: When it must be over (monotonic), so that its rejection comes before the hard limit; None: it has no limit.
    until: float | None
    #: Whether its message is not acknowledged yet.
    goes_back: bool
    #: Whether Celery has come to what belongs to this run: before, it looks for an earlier one.
    begun: bool = False
    #: The backend that is just asked to store, and until when it may take.
    backend: Any = None
    patience: float = 0.0
    #: Whether it waits for another run, and not for the backend.
    waiting: bool = False

    def is_over(self) -> bool:
        """Whether the backend has taken as long as it may."""
        return time.monotonic() >= self.patience

    def may_go_on(self, why: str) -> None:
        """Nothing, while the backend may take."""
        if self.is_over():
            raise GoBack(f"the result backend stores nothing: {OUTAGE.why or why}")


class _Here(threading.local):
    run: Run | None = None


_here = _Here()


@contextlib.contextmanager
def _within(run: Run | None) -> Iterator[None]:
    before, _here.run = _here.run, run
    try:
        yield
    finally:
        _here.run = before


def _limit(backend: Any) -> None:
    """Celery may be told to ask a backend without end, in the main process too; what waits here knows until when."""
    backend.max_retries = min(TRIES, TRIES if backend.max_retries is None else backend.max_retries)


def ask(backend: Any) -> None:
    """Let this backend keep something small, and forget it; an error says why it cannot."""
    _limit(backend)
    name = f"celeryops-{uuid4()}"
    with _within(None):  # here a failure is the answer, nothing to wait for
        backend.store_result(name, None, states.PENDING)
        with contextlib.suppress(NotImplementedError):
            backend.forget(name)


def place(app: Any) -> str:
    """Where this app's results are: an address, or the name of a backend that has none, such as django-db."""
    return str(app.backend.as_uri() or app.conf.result_backend)


def _answers(backend: Any) -> bool:
    if backend.as_uri() == "rpc://":  # its way is the broker's, and it would tell the caller
        return True
    try:
        ask(backend)
    except Exception as error:
        OUTAGE.begin(error)
        return False
    return True


def insist(operation: Callable[[], T], plain: tuple[type[BaseException], ...] = _CONTENT) -> T:
    """Do this until the backend can; its own errors come at once where no task's outcome is being stored.

    Args:
        operation: may be repeated.
        plain: errors that are not the backend's.

    Raises:
        GoBack: the backend could not, as long as the run may wait.
    """
    run = _here.run
    if run is None or run.backend is None:
        return operation()
    tries = 0
    while True:
        run.waiting = False
        try:
            return operation()
        except Exception as raised:  # a time limit that strikes, too
            if isinstance(raised, plain) and not struck(raised):
                raise
            error = raised
        if run.is_over() and not run.waiting:  # a silent one may take all the time there is, once for all
            OUTAGE.begin(error)
        run.may_go_on(said(error))
        tries = tries + 1 if _answers(run.backend) else 0
        if tries == TRIES:
            raise error
        run.may_go_on(said(error))
        time.sleep(PAUSE)


def _store(
    backend: Any,
    operation: Callable[[], T],
    seconds: float | None = None,
    plain: tuple[type[BaseException], ...] = _CONTENT,
) -> T:
    """Store something of the run in this thread, for at most these seconds."""
    run = _here.run
    if run is None or run.backend is not None:  # it is part of what is being stored
        return insist(operation, plain)
    now = time.monotonic()
    until = now + PATIENCE if run.until is None else run.until
    run.backend, run.patience = backend, until if seconds is None else min(until, now + seconds)
    try:
        with ended_in(run.patience - now):
            return insist(operation, plain)
    except SoftTimeLimitExceeded as error:  # struck between two attempts
        if SoftTimeLimitExceeded in plain:
            raise
        raise GoBack(f"the result backend stores nothing: {said(error)}") from error
    finally:
        run.backend = None


def may_wait() -> bool:
    """Whether what is being stored in this thread can wait for others.

    Raises:
        GoBack: it has waited as long as it may.
    """
    run = _here.run
    if run is None or run.backend is None:
        return False
    run.waiting = True
    run.may_go_on("another run of its chord's last part has not sent the body")
    return True


def follow_up(task: Any, operation: Callable[[], T]) -> T:
    """Send what follows a task: a chord is stored before it is sent."""
    return _store(task.backend, operation, plain=(*_CONTENT, *UNPUBLISHED))


# --- what a backend does ----------------------------------------------------------------------------------------------


def _marking(backend: Any, name: str, mark: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(mark)
    def marked(task_id: str, *args: Any, **kwargs: Any) -> Any:
        operation = partial(mark, task_id, *args, **kwargs)
        run = _here.run
        if run is None:
            return _aside(task_id, operation)
        if name == "mark_as_failure" and not run.begun and run.goes_back:
            error = args[0]
            if not isinstance(error, InvalidTaskError):  # it has not begun, so it cannot have failed
                OUTAGE.begin(error)
                raise GoBack(f"the result backend cannot be asked: {said(error)}")
        if name == "mark_as_retry":  # only informs: see below
            return operation()
        try:
            return _store(backend, operation)
        except GoBack as reason:
            if run.goes_back:
                raise
            logger.error("The outcome of task %s could not be stored: %s", task_id, reason)
            return None

    return marked


def _storing(backend: Any, store: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(store)
    def stored(task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        operation = partial(store, task_id, result, state, *args, **kwargs)
        run = _here.run
        if run is None or run.backend is not None:
            return operation()
        if state in states.READY_STATES and run.goes_back:
            return _store(backend, operation)
        try:
            return _store(backend, operation, BRIEF)
        except GoBack as reason:
            if state == states.STARTED and run.goes_back:
                raise
            logger.warning("Task %s goes on, but its state %s could not be stored: %s", task_id, state, reason)
        except Exception as error:
            logger.warning("Task %s goes on, but its state %s could not be stored: %s", task_id, state, said(error))
        return result

    return stored


def _reading(read: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(read)
    def reads(*args: Any, **kwargs: Any) -> Any:
        """The main process asks what became of a task whose process it has lost, and of one that is revoked."""
        with ended_in(None if _here.run else BRIEF):
            return read(*args, **kwargs)

    return reads


def _needing(backend: Any, store: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(store)
    def stored(*args: Any, **kwargs: Any) -> Any:
        operation = partial(store, *args, **kwargs)
        return _store(backend, operation) if _here.run and _here.run.goes_back else operation()

    return stored


def _giving_up(fail: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(fail)
    def failed(callback: Any, exc: Any = None) -> Any:
        """Celery before 5.7 takes a chord whose body cannot be sent for one that has failed."""
        cause = sys.exc_info()[1]
        unsent = str(exc).startswith("Callback error") and isinstance(cause, UNPUBLISHED)
        if unsent and cause and _here.run and _here.run.goes_back:
            raise GoBack(said(cause))
        return fail(callback, exc)

    return failed


def _sending(send: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(send)
    def sent(*args: Any, **kwargs: Any) -> Any:
        """A failed task's callbacks that the broker does not take are no fault of the backend, nor of the result."""
        try:
            return send(*args, **kwargs)
        except UNPUBLISHED as error:
            if _here.run and _here.run.goes_back:
                raise GoBack(f"what follows it could not be sent: {said(error)}") from error
            raise

    return sent


def _calling(prepare: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(prepare)
    def prepared(*args: Any, **kwargs: Any) -> Any:
        """Celery prepares to hear of a result before it sends a message, which a task rarely wants to hear."""
        try:
            return prepare(*args, **kwargs)
        except Exception as error:
            if _here.run is None:
                raise
            logger.warning("Nothing will be heard of the result of a task that is sent now: %s", said(error))
            return {}

    return prepared


def keep(backend: Any) -> Any:
    """Let no failure of this backend end in the loss of a task; not every backend does everything."""
    if "store_result" in vars(backend):
        return backend
    _limit(backend)
    extended: dict[str, Callable[[Any], Any]] = {
        **{name: partial(_marking, backend, name) for name in _MARKS},
        **dict.fromkeys(_CHORD, partial(_needing, backend)),
        "store_result": partial(_storing, backend),
        "_get_task_meta_for": _reading,
        "chord_error_from_stack": _giving_up,
        "_call_task_errbacks": _sending,
        "on_task_call": _calling,
    }
    for name, extend in extended.items():
        if celerys := getattr(backend, name, None):
            setattr(backend, name, extend(celerys))
    return backend


# --- outside of a run: the main process -------------------------------------------------------------------------------

_later: list[tuple[str, Callable[[], Any]]] = []


def _aside(task_id: str, operation: Callable[[], Any]) -> Any:
    """The main process notes what a task's own process could not: that it was killed, or revoked."""
    if not OUTAGE.since:
        try:
            with ended_in(BRIEF):
                return operation()
        except _CONTENT:
            raise
        except Exception as raised:
            OUTAGE.begin(raised)
    logger.warning("The outcome of task %s is stored when the result backend can: %s", task_id, OUTAGE.why)
    _later.append((task_id, operation))
    return None


def _await_end(app: Any) -> None:
    """Ask until the backend keeps something, and store what had to wait."""
    while True:
        try:
            ask(app._get_backend())  # with connections of this thread
            break
        except Exception:
            time.sleep(2 * PAUSE)
    OUTAGE.end()
    while _later:
        task_id, operation = _later.pop(0)
        try:
            operation()
        except Exception as error:
            logger.error("The outcome of task %s could not be stored: %s", task_id, said(error))


_asking: threading.Thread | None = None


def await_end(app: Any) -> None:
    """Let a thread find out when results can be stored again; one is enough."""
    global _asking
    if _asking is None or not _asking.is_alive():
        _asking = threading.Thread(target=_await_end, args=(app,), name="result backend", daemon=True)
        _asking.start()


# --- a run ------------------------------------------------------------------------------------------------------------


def _stores(task: Any, request: Mapping[str, Any]) -> bool:
    """Whether the end of this run is to be stored anywhere."""
    ignored = request.get("ignore_result")
    return bool(request.get("chord")) or not (task.ignore_result if ignored is None else ignored)


def _hold(run: Run) -> None:
    """Not to be handed out again at once, and again: wait until the main process has noticed, or all is well."""
    now = time.monotonic()
    until = now + PATIENCE if run.until is None else run.until
    with contextlib.suppress(SoftTimeLimitExceeded):
        time.sleep(PAUSE)
        while OUTAGE.since and time.monotonic() < until:
            time.sleep(PAUSE)


def _begin(task: Any, **_: Any) -> None:
    run = _here.run
    if run and run.task is task:
        run.begun = True


def _rejected(reject: Reject) -> Any:
    """As if the task's own code had raised it: the pool of threads takes no notice of what a tracer raises."""
    try:
        raise reject
    except Reject:
        return trace_ok_t(ExceptionInfo(internal=True), TraceInfo(states.REJECTED, reject), 0.0, None)


def give_back(reason: Exception) -> BaseException:
    """What to raise where a task is to go back to its queue though its code has succeeded."""
    return GoBack(said(reason)) if _here.run else Reject(reason, requeue=True)


def _traced(build: Callable[..., Any], default: float | None) -> Callable[..., Any]:
    @wraps(build)
    def build_tracer(name: str, task: Any, *args: Any, **options: Any) -> Any:
        trace = build(name, task, *args, **options)
        if options.get("eager"):
            return trace

        @wraps(trace)
        def trace_task(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
            request = request or {}
            run = Run(task, over(time.monotonic(), request.get("timelimit"), task, default), bool(task.acks_late))
            with _within(run):
                try:
                    if OUTAGE.since and run.goes_back and _stores(task, request):
                        raise GoBack(f"the result backend stores nothing: {OUTAGE.why}")
                    return trace(uuid, args, kwargs, request)
                except GoBack as reason:
                    logger.warning("Task %s[%s] goes back to its queue: %s", name, uuid, reason)
                    _hold(run)
                    return _rejected(Reject(str(reason), requeue=True))
                except Reject as reject:
                    return _rejected(reject)

        return trace_task

    return build_tracer


def install(app: Any, time_limit: float | None) -> None:
    """Make it so for the tasks of this process, and of those that it forks.

    Args:
        app: what the worker runs; its backend may be there already.
        time_limit: the worker's hard limit in seconds, for tasks without one of their own.
    """
    from celery import Celery
    from celery.app import trace
    from celery.worker.consumer import consumer

    make = Celery._get_backend

    @wraps(make)
    def make_and_keep(self: Any) -> Any:
        return keep(make(self))

    Celery._get_backend = make_and_keep
    made = [app._backend, *(task._backend for task in app.tasks.values())]
    for backend in filter(None, made):
        keep(backend)
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid=f"{__name__}.begin")
    trace.build_tracer = consumer.build_tracer = _traced(trace.build_tracer, time_limit)
