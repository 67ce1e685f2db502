# SPDX-License-Identifier: GPL-3.0-or-later
"""How the primary is found again: with Sentinels and Redis that are sockets of this test."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

primary = pytest.importorskip("celeryops_runtime.primary")
from celery import Celery  # noqa: E402
from celery.app.backends import BACKEND_ALIASES  # noqa: E402
from celeryops_runtime import redis as transport  # noqa: E402
from celeryops_runtime import settings  # noqa: E402
from kombu import Connection  # noqa: E402
from redis.exceptions import ConnectionError, TimeoutError  # noqa: E402

NAME = "celery"


class Server:
    """Answers every command by a function of its words, on a port of its own."""

    def __init__(self, answer: Callable[[list[bytes]], bytes]) -> None:
        self.answer, self.connections = answer, 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            while head := stream.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int(stream.readline()[1:])
                    words.append(stream.read(size + 2)[:-2])
                stream.write(self.answer(words))
                stream.flush()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[list[bytes]], bytes]], Server]]:
    servers: list[Server] = []

    def start(answer: Callable[[list[bytes]], bytes]) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def _nobody_was_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("kombu.transport._transport_cache", {})
    monkeypatch.setattr("celery.app.backends.BACKEND_ALIASES", {**BACKEND_ALIASES})
    primary._answered.clear()
    yield
    primary._answered.clear()


def redis(words: list[bytes]) -> bytes:
    """A primary that knows PING."""
    return {b"PING": b"+PONG\r\n", b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n"}.get(words[0].upper(), b"+OK\r\n")


def knows(*ports: int) -> Callable[[list[bytes]], bytes]:
    """A Sentinel that knows these primaries, each of them for one question, and the last one for good."""
    left = list(ports)

    def answer(words: list[bytes]) -> bytes:
        if words[0].upper() != b"SENTINEL":
            return redis(words)
        port = left.pop(0) if len(left) > 1 else left[0]
        said = {"name": NAME, "ip": "127.0.0.1", "port": port, "flags": "master", "num-other-sentinels": 2}
        words = [str(word).encode() for pair in said.items() for word in pair]
        return b"*1\r\n%%%d\r\n" % len(said) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    return answer


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a host that has lost power: connections are never answered."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # its queue is full, so the kernel drops what comes
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        yield full.getsockname()[1]
        for each in waiting:
            each.close()


def client(*sentinels: int) -> Connection:
    """As a worker connects."""
    times = {"socket_timeout": 1, "socket_connect_timeout": 1}
    options = {
        "master_name": NAME,
        "sentinel_kwargs": times,
        "socket_timeout": 1,
        "socket_connect_timeout": 1,
        "retry_on_timeout": True,
    }
    urls = ";".join(f"sentinel://127.0.0.1:{port}/0" for port in sentinels)
    return Connection(urls, transport=transport.SentinelTransport, transport_options=options)


def test_each_attempt_asks_where_the_primary_is_now(serve: Callable[..., Server], silent: int) -> None:
    """A command on a connection that was lost goes to the new primary with the second attempt."""
    new = serve(redis)
    sentinel = serve(knows(silent, new.port))
    pool = client(sentinel.port).channel().client.connection_pool
    connection = pool.get_connection()
    connection.disconnect()  # as after an error: redis-py's next attempt begins by sending
    sentinel.answer = knows(silent, new.port)
    attempts = 0
    start = time.monotonic()
    while True:
        attempts += 1
        try:
            connection.send_command("PING")
            break
        except (ConnectionError, TimeoutError):
            assert attempts < 3
    assert (attempts, connection.port) == (2, new.port)
    assert time.monotonic() - start < 3


def test_a_sentinel_that_is_gone_costs_one_attempt_and_the_next_channel_none(
    serve: Callable[..., Server], silent: int
) -> None:
    sentinel = serve(knows(serve(redis).port))
    start = time.monotonic()
    client(silent, sentinel.port).channel()
    assert time.monotonic() - start < 3
    start = time.monotonic()
    client(silent, sentinel.port).channel()
    assert time.monotonic() - start < 0.5, "the one that answered was not asked first"


def test_results_find_their_way_as_tasks_do(serve: Callable[..., Server], silent: int) -> None:
    new = serve(redis)
    sentinel = serve(knows(silent, new.port))
    app = Celery("x", set_as_current=False)
    settings.install(app, settings.Shared())
    app.conf.result_backend = f"sentinel://127.0.0.1:{silent}/1;sentinel://127.0.0.1:{sentinel.port}/1"
    times = {"socket_timeout": 1, "socket_connect_timeout": 1}
    app.conf.result_backend_transport_options = {"master_name": NAME, "sentinel_kwargs": times}
    app.conf.redis_socket_connect_timeout = app.conf.redis_socket_timeout = 1
    app.conf.redis_retry_on_timeout = True
    start = time.monotonic()
    assert app.backend.client.ping()
    assert time.monotonic() - start < 6
    assert app.backend.client.connection_pool.master_address == ("127.0.0.1", new.port)


def test_too_few_replicas_are_no_end_of_a_worker(serve: Callable[..., Server]) -> None:
    """It connects again, until there are enough."""
    channel = client(serve(knows(serve(refuses).port)).port).channel()
    with pytest.raises(channel.connection_errors, match="NOREPLICAS"):
        channel.client.rpop("critical")
    with pytest.raises(channel.ResponseError, match="wrong kind"):
        channel.client.lpush("critical", "x")


def refuses(words: list[bytes]) -> bytes:
    """A primary whose replicas are gone."""
    said = {b"RPOP": b"-NOREPLICAS Not enough good replicas to write.\r\n", b"LPUSH": b"-WRONGTYPE wrong kind\r\n"}
    return said.get(words[0].upper()) or redis(words)


@pytest.mark.parametrize("kind", ["one", "several"])
def test_what_a_worker_held_when_its_connection_was_lost_is_no_end_of_it(
    serve: Callable[..., Server], kind: str
) -> None:
    """Celery gives such a connection up; then a task ends, and its message cannot be acknowledged any more."""
    redis_port = serve(redis).port
    one = Connection(f"redis://127.0.0.1:{redis_port}/0", transport=transport.Transport)
    connection = one if kind == "one" else client(serve(knows(redis_port)).port)
    channel = connection.channel()
    connection.collect()
    for act in (channel.basic_ack, channel.basic_reject):
        with pytest.raises(channel.connection_errors, match="given up"):
            act("tag")
    with pytest.raises(channel.connection_errors, match="given up"):  # a sender tries again then
        channel._put("critical", {"properties": {}})
