# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP, Redis and AMQP as a stranger or a known user speaks them, with TLS where the service has it.

Nothing here ever appears in a command line.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

TIMEOUT = 10
#: connection.tune: what a broker says next to a client that it lets in.
AMQP_TUNE = (10, 30)


@dataclass(frozen=True)
class Place:
    """Where a service is reached from here, and how it is verified; None: it speaks without TLS."""

    address: tuple[str, int]
    tls: ssl.SSLContext | None = None

    def connect(self) -> socket.socket:
        """A connection, verified where it is one with TLS."""
        plain = socket.create_connection(self.address, timeout=TIMEOUT)
        if self.tls is None:
            return plain
        try:
            return self.tls.wrap_socket(plain, server_hostname=self.address[0])
        except BaseException:
            plain.close()
            raise

    def trusting(self, tls: ssl.SSLContext | None) -> Place:
        """The same place for someone who verifies it otherwise, or not at all."""
        return replace(self, tls=tls)


@dataclass(frozen=True, repr=False)
class Answer:
    """What a web server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as data."""
        return json.loads(self.body)


@dataclass(frozen=True, repr=False)
class Web:
    """A web server, and who we are to it."""

    place: Place
    header: str = ""

    def as_user(self, name: str, password: str) -> Web:
        """The same server for someone with a login."""
        return Web(self.place, "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())

    def with_token(self, token: str) -> Web:
        """The same server for a program with a token."""
        return Web(self.place, f"Bearer {token}")

    def ask(self, path: str, method: str = "GET", data: Any = None) -> Answer:
        """One request."""
        where, tls = self.place.address, self.place.tls
        connection = (
            http.client.HTTPSConnection(*where, timeout=TIMEOUT, context=tls)
            if tls
            else http.client.HTTPConnection(*where, timeout=TIMEOUT)
        )
        headers = {"Authorization": self.header} if self.header else {}
        body = None if data is None else json.dumps(data)
        try:
            connection.request(method, path, body, headers | ({"Content-Type": "application/json"} if body else {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The data at a path; it must be there."""
        answer = self.ask(path)
        assert answer.status == http.HTTPStatus.OK, f"GET {path}: HTTP {answer.status}"
        return answer.json()


def redis_says(place: Place, *commands: list[str], lines: int = 0) -> list[str]:
    """The first line of Redis' answer to each command, or so many lines of all that it answers."""
    with place.connect() as connection, connection.makefile("rwb") as stream:
        answers = []
        for words in commands:
            stream.write(
                b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words)
            )
            stream.flush()
            if not lines:
                answers.append(stream.readline().decode().strip())
        return answers or [stream.readline().decode().strip() for _line in range(lines)]


def amqp_lets_in(place: Place, user: str, password: str) -> bool:
    """Whether an AMQP broker accepts this login."""
    login = f"\0{user}\0{password}".encode()
    # Who says that it understands a refusal gets it at once, not after some seconds of silence.
    understands = _table("authentication_failure_close", b"t\x01")
    properties = _table("capabilities", b"F" + understands)
    start_ok = struct.pack(">HH", 10, 11) + properties + b"\x05PLAIN" + _long(login) + b"\x05en_US"
    with place.connect() as connection, connection.makefile("rwb") as stream:
        stream.write(b"AMQP\0\0\x09\x01")
        stream.flush()
        _frame(stream)
        stream.write(struct.pack(">BHI", 1, 0, len(start_ok)) + start_ok + b"\xce")
        stream.flush()
        return _frame(stream)[:4] == struct.pack(">HH", *AMQP_TUNE)


def _long(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _table(name: str, value: bytes) -> bytes:
    return _long(bytes([len(name)]) + name.encode() + value)


def _frame(stream: Any) -> bytes:
    """The next frame's content; nothing where the broker hung up."""
    head = stream.read(7)
    if len(head) < 7:
        return b""
    content: bytes = stream.read(struct.unpack(">I", head[3:])[0])
    stream.read(1)
    return content
