# SPDX-License-Identifier: GPL-3.0-or-later
"""How messages are taken from Redis and put there; what the script does in it, hosts under test show."""

from collections import OrderedDict
from contextlib import contextmanager
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.json import dumps

transport = pytest.importorskip("celeryops_runtime.redis")
from celeryops_runtime import consumer, settings  # noqa: E402


class Server:
    """Answers in turn, and remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), []
        self.connection = self
        self.result: list[Any] = [1, 1]

    def send_command(self, *words: Any, check_health: bool = True) -> None:
        assert not check_health, "a check may connect anew, unseen by the event loop, which then sends a second command"
        self.asked.append(words)

    def parse_response(self, connection: Any, command: str, **_: Any) -> Any:
        assert command == self.asked[-1][0], "the answer is read as that of another command"
        return self.answers.pop(0)

    @contextmanager
    def pipeline(self, transaction: bool = True) -> Any:
        assert not transaction, "WAIT inside a transaction waits for nothing"
        yield self

    def lpush(self, key: str, text: str) -> None:
        self.asked.append(("LPUSH", key))

    def execute_command(self, *words: Any) -> None:
        self.asked.append(words)

    def execute(self) -> list[Any]:
        return self.result


def channel(server: Server, **options: Any) -> Any:
    """A channel that has no server but this one."""
    new: Any = object.__new__(transport.Channel)
    delivered: list[Any] = []
    new.__dict__.update(
        _unnoted=set(),
        _command="",
        _waits=0,
        _closing=True,
        client=server,
        brpop_timeout=1,
        connection_errors=(OSError,),
        _active_queues=["mail", "web"],
        active_fanout_queues=set(),
        _queue_cycle=SimpleNamespace(consume=lambda count: ["mail", "web"][:count], rotate=lambda queue: None),
        delivered=delivered,
        connection=SimpleNamespace(
            _deliver=lambda message, queue: delivered.append((queue, message, new.noted)),
            client=SimpleNamespace(transport_options=options),
        ),
        conn_or_acquire=lambda: _given(server),
    )
    return new


@contextmanager
def _given(server: Server) -> Any:
    yield server


def turn(new: Any) -> bool:
    """One turn of the event loop; whether a message came."""
    new._brpop_start()
    try:
        return bool(new._brpop_read())
    except Empty:
        return False


def test_a_message_is_taken_and_noted_in_one_step() -> None:
    new = channel(server := Server([b"web", dumps({"id": 1}).encode(), 1]))
    assert turn(new)
    assert new.delivered == [("web", {"id": 1}, True)]
    command, script, count, *rest = server.asked[0]
    assert (command, script) == ("EVAL", transport.TAKE)
    assert rest[:2] == ["unacked", "unacked_index"]
    assert rest[2:4] == ["mail", "web"], "the queues at the first priority come first"
    assert len(rest) == count + 1, "the last one is the time"
    assert new.noted is False


def test_while_there_is_nothing_the_wait_takes_nothing_away() -> None:
    new = channel(server := Server(None, None, None, b"message", [b"mail", b"{}", 1]))
    assert [turn(new) for _ in range(5)] == [False, False, False, False, True]
    assert [asked[0] for asked in server.asked] == ["EVAL", "BLMOVE", "EVAL", "BLMOVE", "EVAL"]
    waits = [asked for asked in server.asked if asked[0] == "BLMOVE"]
    assert {(source, target) for _, source, target, *_ in waits} == {("mail", "mail"), ("web", "web")}, "each in turn"
    assert all(ends == ("RIGHT", "RIGHT", 1) for _, _, _, *rest in waits for ends in [tuple(rest)])


def test_after_a_message_there_may_be_more() -> None:
    new = channel(server := Server([b"mail", b"{}", 1], [b"mail", b"{}", 1], None))
    assert [turn(new) for _ in range(3)] == [True, True, False]
    assert [asked[0] for asked in server.asked] == ["EVAL"] * 3


def test_what_the_script_could_not_read_is_noted_by_kombu() -> None:
    new = channel(Server([b"mail", b"{}", 0]))
    assert turn(new)
    assert new.delivered[0][2] is False


def test_replies_are_taken_as_kombu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    new = channel(Server())
    taken: list[str] = []
    monkeypatch.setattr(transport.redis.Channel, "_brpop_start", lambda self, timeout=None: taken.append("start"))
    monkeypatch.setattr(transport.redis.Channel, "_brpop_read", lambda self, **_: bool(taken.append("read")) or True)
    new._unnoted.add("mail")
    assert turn(new)
    assert taken == ["start", "read"]


def test_a_message_is_accepted_when_the_replicas_have_it() -> None:
    new = channel(server := Server(), copies=1)
    new._put("mail", {"properties": {}})
    assert [asked[:2] for asked in server.asked] == [("LPUSH", "mail"), ("WAIT", 1)]
    server.result = [1, 0]
    with pytest.raises(transport.NoConnection, match="0 replicas have the message"):
        new._put("mail", {"properties": {}})


def test_what_is_held_is_said_to_be() -> None:
    said: list[Any] = []
    client = SimpleNamespace(zadd=lambda key, scores, xx: said.append((key, set(scores), xx)))
    qos = SimpleNamespace(_delivered=OrderedDict(a=1, b=2, c=3), _dirty={"b"})
    held = SimpleNamespace(closed=False, qos=qos, unacked_index_key="index", conn_or_acquire=lambda: _given(client))
    transport.still_held(held)()
    assert said == [("index", {"a", "c"}, True)], "xx: what was acknowledged meanwhile must not come back"
    held.closed = True
    transport.still_held(held)()
    assert len(said) == 1, "what came by a connection that was lost would never run"
    held.closed, qos._dirty = False, {"a", "b", "c"}
    transport.still_held(held)()
    assert len(said) == 1


def test_after_a_reconnect_only_what_came_by_the_new_connection_is_held() -> None:
    hub = SimpleNamespace(call_repeatedly=lambda seconds, act: SimpleNamespace(cancel=lambda: ended.append(act)))
    ended: list[Any] = []
    first = consumer.hold(hub, channel := SimpleNamespace(visibility_timeout=60))
    assert not ended
    consumer.hold(hub, channel, first)
    assert len(ended) == 1


def test_every_url_of_redis_leads_to_it_also_after_a_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.TRANSPORTS.items():
        monkeypatch.setitem(TRANSPORT_ALIASES, name, value)
    one = Connection("sentinel://u:p@10.0.0.1:26379/0;sentinel://u:p@10.0.0.2:26379/0")
    assert one.get_transport_cls() is transport.SentinelTransport
    one.switch("sentinel://u:p@10.0.0.2:26379/0")
    assert one.get_transport_cls() is transport.SentinelTransport
    assert Connection("redis://u:p@10.0.0.1/0").get_transport_cls() is transport.Transport
    assert transport.SentinelTransport.Channel._put is transport.Channel._put
    assert "master_name" in transport.SentinelTransport.Channel.from_transport_options
