# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a primary that Sentinels know: they are asked at every attempt, and one that is gone costs a second.

* redis-py asks only when it takes a connection out of its pool. Each of its further attempts goes to the same address,
  for minutes when that host has fallen silent and another is the primary already (redis-py's issue 3874).
* It asks a Sentinel that is gone again and again, with pauses, before it asks the next, and so does every new channel.
"""

from typing import Any

from kombu.transport import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis.sentinel import SentinelManagedConnection

#: By the primary's name, the Sentinel of all that this process asked that answered last.
_answered: dict[str, tuple[str, int]] = {}


def ask_once(manager: Any) -> Any:
    """Let redis-py try each of these Sentinels once; how long that may take their options say."""
    for sentinel in manager.sentinels:
        sentinel.set_retry(Retry(NoBackoff(), 0))
    return manager


def _place(sentinel: Any) -> tuple[str, int]:
    there = sentinel.connection_pool.connection_kwargs
    return there["host"], there["port"]


def address(pool: Any) -> tuple[str, int]:
    """Where the primary of this pool is now."""
    sentinels, name = pool.sentinel_manager.sentinels, pool.service_name
    sentinels[:] = sorted(sentinels, key=lambda sentinel: _place(sentinel) != _answered.get(name))
    found: tuple[str, int] = pool.get_master_address()
    _answered[name] = _place(sentinels[0])  # redis-py puts the one that answered there
    return found


class _Asking:
    """A connection that asks for its address whenever it has no socket; who retries is the caller."""

    connection_pool: Any
    host: str
    port: int
    _sock: Any

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Every attempt comes here."""
        if not self._sock:
            self.host, self.port = address(self.connection_pool)
            super().connect_check_health(check_health, retry_socket_connect=False)  # type: ignore[misc]

    def read_response(self, *words: Any, **options: Any) -> Any:
        """A primary that lacks replicas takes nothing until they are back: as good as one that is away."""
        try:
            return super().read_response(*words, **options)  # type: ignore[misc]
        except ResponseError as error:
            if str(error).startswith("NOREPLICAS"):
                raise NoConnection(str(error)) from error
            raise

    def _connect_retry(self) -> None:
        self.connect_check_health(self.connection_pool.check_connection)


class Connection(_Asking, SentinelManagedConnection):
    """Without TLS."""


class SSLConnection(_Asking, redis.SentinelManagedSSLConnection):
    """With TLS."""
