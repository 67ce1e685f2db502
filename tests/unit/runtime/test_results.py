# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a chord whose parts are counted on a Redis that is away at any moment of it."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, _state, signals, signature
from celery.app import trace
from celery.app.amqp import AMQP
from celery.app.task import Task
from celery.exceptions import Reject
from celery.worker.consumer import consumer
from celeryops_runtime import outcomes, results, retry, settings
from kombu.connection import ConnectionPool
from kombu.exceptions import OperationalError
from redis import StrictRedis, client
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import NoScriptError

TASK = "00000000-0000-4000-8000-000000000001"
pytestmark = [
    # Celery's backend uses a command that redis-py would rather not have used.
    pytest.mark.filterwarnings("ignore:Call to deprecated setex"),
    # An interruption that strikes in the callback of a weak reference has no effect, and comes again.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
Run = Callable[[], Any]


class Server:
    """As much of Redis as Celery's chords use; its scripts in Python."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.asked: list[str] = []
        #: What goes wrong at which command, counted from 0: before it, or its answer alone.
        self.failing: Callable[[int, str], bool] = lambda number, name: False
        self.answers_lost = False

    def command(self, name: str, *words: Any, **_: Any) -> Any:
        self.asked.append(name)
        fails = self.failing(len(self.asked) - 1, name)
        if fails and not self.answers_lost:
            raise NoConnection("closed")
        answer = getattr(self, name.lower().replace(" ", "_"))(*map(self.text, words))
        if fails:
            raise NoConnection("closed")
        return answer

    @staticmethod
    def text(word: Any) -> Any:
        return word.decode() if isinstance(word, bytes) else word

    def get(self, key: str) -> Any:
        value = self.data.get(key)
        return value.encode() if isinstance(value, str) else value

    def set(self, key: str, value: Any, *_: Any) -> bool:
        self.data[key] = str(value)
        return True

    def setex(self, key: str, _: int, value: Any) -> bool:
        return self.set(key, value)

    def publish(self, *_: Any) -> int:
        return 0

    def delete(self, *keys: str) -> int:
        return sum(self.data.pop(key, None) is not None for key in keys)

    def zadd(self, key: str, score: Any, member: str) -> int:
        self.data.setdefault(key, {})[member] = member
        return 1

    def zcount(self, key: str, *_: Any) -> int:
        return len(self.data.get(key, {}))

    def expire(self, *_: Any) -> int:
        return 1

    def zrange(self, key: str, *_: Any) -> list[bytes]:
        return [value.encode() for value in self.data.get(key, {}).values()]

    def script_load(self, script: str) -> str:
        self.data["scripts"] = {**self.data.get("scripts", {}), "loaded": True}
        return "sha"

    def evalsha(self, sha: str, _number: int, *words: Any) -> Any:
        if "scripts" not in self.data:
            raise NoScriptError("NOSCRIPT")
        return {8 + 6: self._count, 2 + 5: self._clean, 2 + 2: self._extend}[len(words)](*words)

    def _count(self, *words: Any) -> Any:
        j, t, s, _d, _g, c, tid, value, _ordered, score, *_, token = words
        if self.data.get(c) == "done":
            return [-1, 0, 0, 0]
        self.data.setdefault(j, {})[f"{tid}:{score}"] = value
        ready, size, claimed = len(self.data[j]), self.get(s), 0
        if size and ready == int(size) and c not in self.data:
            self.data[c], claimed = token, 1
        return [ready, self.get(t), size, claimed]

    def _extend(self, c: str, s: str, token: str, _: Any) -> int:
        if c not in self.data and s in self.data:
            self.data[c] = token
        return int(self.data.get(c) == token)

    def _clean(self, c: str, *words: Any) -> int:
        *keys, token, _ = words
        if self.data.get(c) != token:
            return 0
        self.delete(*keys)
        self.data[c] = "done"
        return 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    def execute(pipeline: Any, raise_on_error: bool = True) -> Any:
        commands, pipeline.command_stack = pipeline.command_stack, []
        return [server.command({"DEL": "DELETE"}.get(words[0], words[0]), *words[1:]) for words, _ in commands]

    def command(_: Any, name: str, *words: Any, **options: Any) -> Any:
        return server.command({"DEL": "DELETE"}.get(name, name), *words)

    monkeypatch.setattr(StrictRedis, "execute_command", command)
    monkeypatch.setattr(client.Pipeline, "execute", execute)
    monkeypatch.setattr(
        client.Pipeline,
        "execute_command",
        lambda self, *words, **options: self.command_stack.append((words, options)) or self,
    )
    return server


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Celery as a worker extends it."""
    for name in ("CELERY_LOADER", "CELERY_BROKER_URL", "CELERYOPS_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    broker = SimpleNamespace(error=None, sent=[])

    def send(_producer: Any, name: str, _message: Any, **_: Any) -> None:
        if broker.error:
            raise broker.error
        broker.sent.append(name)

    monkeypatch.setattr(AMQP, "send_task_message", property(lambda _: send))
    for owner, name in (
        (Task, "retry"),
        (AMQP, "_retry_publish"),
        (ConnectionPool, "replace"),
        (Celery, "_get_backend"),
        (trace, "build_tracer"),
        (consumer, "build_tracer"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name, None), raising=False)
    for name, seconds in (("PAUSE", 0.01), ("BRIEF", 0.2), ("PATIENCE", 0.3)):
        monkeypatch.setattr(outcomes, name, seconds)
    _state._set_task_join_will_block(True)  # as the prefork pool does
    outcomes.OUTAGE.end()
    yield broker
    outcomes.OUTAGE.end()
    _state._set_task_join_will_block(False)
    signals.task_prerun.disconnect(dispatch_uid=retry._BEGAN)


@pytest.fixture
def app(broker: SimpleNamespace) -> Celery:
    app = Celery("x", broker="memory://", backend=settings.BACKENDS["redis"].replace(":", "."), set_as_current=False)
    app.conf.task_acks_late = True
    retry.install(None)
    outcomes.install(app, None)
    return app


@pytest.fixture
def last_part(app: Celery, server: Server) -> Run:
    """Run the only part of a chord, as often as it is given back."""

    @app.task(name="x.part", shared=False)  # type: ignore[untyped-decorator]
    def part() -> int:
        return 42

    @app.task(name="x.body", shared=False)  # type: ignore[untyped-decorator]
    def body(_results: Any) -> None:
        pass

    app.finalize()
    server.data["celery-taskset-meta-g.s"] = "1"
    request = {"id": TASK, "delivery_info": {}, "group": "g", "group_index": 0, "chord": signature("x.body", app=app)}
    traced = trace.build_tracer("x.part", part, app=app)
    return lambda: traced(TASK, (), {}, dict(request))


def goes_back(result: Any) -> bool:
    return isinstance(result.info and result.info.retval, Reject)


#: More commands than the end of a chord's last part has.
MOST = 16


def test_the_body_of_a_chord_is_sent(server: Server, last_part: Run, broker: SimpleNamespace) -> None:
    assert last_part().info is None
    assert broker.sent == ["x.body"]
    assert 5 < len(server.asked) < MOST


@pytest.mark.parametrize("answers_lost", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("number", range(MOST))
def test_whichever_command_fails_once_the_body_is_sent(
    server: Server, last_part: Run, broker: SimpleNamespace, number: int, answers_lost: bool
) -> None:
    server.failing, server.answers_lost = lambda at, name: at == number, answers_lost
    assert last_part().info is None
    assert broker.sent == ["x.body"]


@pytest.mark.parametrize("number", range(MOST))
def test_from_whichever_command_on_redis_is_away_the_body_is_sent_when_the_part_is_done_again(
    server: Server, last_part: Run, broker: SimpleNamespace, number: int
) -> None:
    server.failing = lambda at, name: at >= number
    first = last_part()
    assert goes_back(first) or number >= len(server.asked)
    server.failing = lambda at, name: False
    outcomes.OUTAGE.end()
    if "celery-taskset-meta-g.c" in server.data and server.data["celery-taskset-meta-g.c"] != "done":
        assert goes_back(last_part()), "it waits for whoever has the claim"
        assert not outcomes.OUTAGE.since, "which is not the backend's fault"
        del server.data["celery-taskset-meta-g.c"]  # which expires
    if goes_back(first):
        assert last_part().info is None
    assert set(broker.sent) == {"x.body"}


def test_a_body_that_the_broker_does_not_take_is_sent_by_the_next_run(
    server: Server, last_part: Run, broker: SimpleNamespace
) -> None:
    broker.error = OperationalError("gone")
    assert goes_back(last_part())
    assert server.data.get("celery-taskset-meta-g.c") is None, "no claim is left"
    broker.error = None
    assert last_part().info is None
    assert broker.sent == ["x.body"]


def test_outside_of_an_outcome_the_commands_are_redis_pys_own(server: Server, app: Celery) -> None:
    server.failing = lambda at, name: True
    with pytest.raises(NoConnection):
        app.backend.get_state(TASK)
    assert server.asked == ["GET"]


@pytest.mark.parametrize("scheme", settings.BACKENDS)
def test_every_redis_is_kept(scheme: str, broker: SimpleNamespace) -> None:
    module, name = settings.BACKENDS[scheme].split(":")
    assert module == results.__name__
    assert issubclass(getattr(results, name), results.RedisBackend)
