# SPDX-License-Identifier: GPL-3.0-or-later
"""Tries what a broker's user may do and what not; what it tries leaves nothing behind and takes nothing away."""

from collections.abc import Callable
from typing import Any


def main(data: Any) -> list[bool]:
    """Whether each attempt, a user with an operation and its object, was let through. Runs where kombu is."""
    from amqp.exceptions import AccessRefused, NotFound
    from kombu import Connection

    def declare_exchange(channel: Any, name: str) -> None:
        channel.exchange_declare(name, "topic", durable=True, auto_delete=False)

    def declare_queue(channel: Any, name: str) -> None:
        channel.queue_declare(name, durable=False, exclusive=True, auto_delete=True)

    def publish(channel: Any, name: str) -> None:
        channel.basic_publish(channel.prepare_message(b"rights", content_encoding="binary"), name, "what-nobody-binds")

    def get(channel: Any, name: str) -> None:
        channel.basic_get(name)  # closing the channel gives it back

    operations: dict[str, Callable[[Any, str], None]] = {
        "declare_exchange": declare_exchange,
        "declare_queue": declare_queue,
        "publish": publish,
        "get": get,
    }

    def allowed(connection: Any, operation: str, name: str) -> bool:
        channel = connection.channel()
        try:
            operations[operation](channel, name)
            channel.close()
        except AccessRefused:
            return False
        except NotFound:
            return True
        return True

    found = []
    for user, operation, name in data["attempts"]:
        options = {"confirm_publish": True, "read_timeout": 10, "write_timeout": 10}
        with Connection(data["urls"][user], ssl=data["ssl"] or False, transport_options=options) as connection:
            found.append(allowed(connection, operation, name))
    return found
