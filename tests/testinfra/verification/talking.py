# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP, Redis and AMQP as a stranger or a known user speaks them; nothing here ever appears in a command line."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT = 10
#: connection.tune: what a broker says next to a client that it lets in.
AMQP_TUNE = (10, 30)


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

    address: tuple[str, int]
    header: str = ""

    def as_user(self, name: str, password: str) -> Web:
        """The same server for someone with a login."""
        return Web(self.address, "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())

    def with_token(self, token: str) -> Web:
        """The same server for a program with a token."""
        return Web(self.address, f"Bearer {token}")

    def ask(self, path: str, method: str = "GET", data: Any = None) -> Answer:
        """One request."""
        connection = http.client.HTTPConnection(*self.address, timeout=TIMEOUT)
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


def redis_says(address: tuple[str, int], *commands: list[str], lines: int = 0) -> list[str]:
    """The first line of Redis' answer to each command, or so many lines of all that it answers."""
    with socket.create_connection(address, timeout=TIMEOUT) as connection, connection.makefile("rwb") as stream:
        answers = []
        for words in commands:
            stream.write(
                b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words)
            )
            stream.flush()
            if not lines:
                answers.append(stream.readline().decode().strip())
        return answers or [stream.readline().decode().strip() for _ in range(lines)]


def amqp_lets_in(address: tuple[str, int], user: str, password: str) -> bool:
    """Whether an AMQP broker accepts this login."""
    login = f"\0{user}\0{password}".encode()
    # Who says that it understands a refusal gets it at once, not after some seconds of silence.
    understands = _table("authentication_failure_close", b"t\x01")
    properties = _table("capabilities", b"F" + understands)
    start_ok = struct.pack(">HH", 10, 11) + properties + b"\x05PLAIN" + _long(login) + b"\x05en_US"
    with socket.create_connection(address, timeout=TIMEOUT) as connection, connection.makefile("rwb") as stream:
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
