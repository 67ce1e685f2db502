# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the broker, in the child; changes nothing there.

A queue that exists is declared once more with the application's arguments: RabbitMQ answers whether they are the same,
and otherwise refuses (406). One that does not exist is not declared.
"""

from __future__ import annotations

from typing import Any

#: Seconds to wait for the connection, and for each answer.
PATIENCE = 5


def ask(app: Any) -> dict[str, Any]:
    """What the broker says, for `facts.Live.of`."""
    from celeryops_audit.child import without_secrets

    try:
        with app.connection_for_write(connect_timeout=PATIENCE) as connection:
            connection.transport_options = {
                **connection.transport_options,
                "read_timeout": PATIENCE,
                "write_timeout": PATIENCE,
                "socket_timeout": PATIENCE,
                "socket_connect_timeout": PATIENCE,
            }
            connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=PATIENCE)
            if connection.transport.driver_type == "amqp":
                return rabbitmq(app, connection)
            if connection.transport.driver_type == "redis":
                return redis(connection.default_channel.client)
            return {"problem": f"nothing is known of brokers of the kind {connection.transport.driver_type}"}
    except Exception as problem:  # whatever it is, the answer is: not known
        return {"problem": without_secrets(f"the broker did not answer: {type(problem).__name__}: {problem}")[:300]}


def rabbitmq(app: Any, connection: Any) -> dict[str, Any]:
    """Version, and whether what exists is what the application would declare."""
    from amqp.exceptions import AMQPError, NotFound, PreconditionFailed

    refused: dict[str, str] = {}
    missing, unclear = [], []
    for name, queue in app.amqp.queues.items():
        for thing in ("queue", "exchange"):
            channel = connection.channel()
            try:
                if thing == "queue":
                    queue(channel).queue_declare(passive=True)
                    queue(channel).queue_declare()
                elif queue.exchange and queue.exchange.name:
                    queue.exchange(channel).declare(passive=True)
                    queue.exchange(channel).declare()
            except NotFound:
                missing.append(f"{thing} {name if thing == 'queue' else queue.exchange.name}")
            except PreconditionFailed as problem:
                refused[f"{thing} {name if thing == 'queue' else queue.exchange.name}"] = str(problem.reply_text)
            except AMQPError as problem:
                unclear.append(f"{thing} {name}: {problem.reply_code} {problem.reply_text}")
            finally:
                if channel.is_open:
                    channel.close()
    properties = connection.connection.server_properties
    return {
        "product": str(properties.get("product", "")),
        "version": str(properties.get("version", "")),
        "refused": refused,
        "missing": sorted(set(missing)),
        "unclear": unclear,
    }


def redis(client: Any) -> dict[str, Any]:
    """How it treats what it holds."""
    from redis.exceptions import ResponseError

    told: dict[str, Any] = {"product": "Redis"}
    try:
        info = client.info()
    except ResponseError:  # this user may not ask
        return {**told, "problem": "the application's user may not ask Redis for INFO"}
    told |= {
        "version": str(info.get("redis_version", "")),
        "maxmemory": info.get("maxmemory"),
        "eviction": info.get("maxmemory_policy"),
        "aof": bool(info["aof_enabled"]) if "aof_enabled" in info else None,
    }
    try:
        told["snapshots"] = bool(client.config_get("save").get("save"))
    except ResponseError:
        told["snapshots"] = None
    return told
