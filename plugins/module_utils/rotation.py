# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords that take the place of others: what is half done, and who has yet to move.

RabbitMQ's users have one password each. So a new password is a new user's, whose name has the generation in it, and
both are good until the clients have moved. Redis is treated alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmq import password_matches

#: The users that a service has, each with a function that knows its password when it sees it.
Present = Mapping[str, Callable[[str], bool]]


def in_rabbitmq(definitions: Mapping[str, Any]) -> Present:
    """The users of a definitions document."""

    def matches(user: Mapping[str, Any]) -> Callable[[str], bool]:
        return lambda password: password_matches(password, user)

    return {user["name"]: matches(user) for user in definitions.get("users") or []}


def in_redis(acl: str) -> Present:
    """The users of an ACL file."""

    def matches(rules: list[str]) -> Callable[[str], bool]:
        return lambda password: "#" + hashlib.sha256(password.encode()).hexdigest() in rules

    words = [line.split() for line in acl.splitlines() if line.startswith("user ")]
    return {name: matches(rules) for _user, name, *rules in words}


def half_done(
    service: str, users: Iterable[Mapping[str, Any]], passwords: Mapping[str, str], generation: int, present: Present
) -> list[str]:
    """One sentence for each user with whom a rotation cannot be begun or gone on with."""
    found = []
    for user in users:
        name, secret = user["name"], user["password_in"]
        base = re.escape(user["former"][0] if user["former"] else name)
        later = {
            each for each in present if (other := re.fullmatch(rf"{base}-(\d+)", each)) and int(other[1]) > generation
        }
        if later:
            found.append(
                f"celery_generation is {generation}, but {service} has {', '.join(sorted(later))} already: write the "
                "number in that name to go on with that rotation, or a larger one beside new passwords."
            )
        elif name in present and not present[name](passwords[secret]):
            found.append(
                f"{secret} is not the password that {service} has for {name}, and whoever reconnects with that one "
                f"would be refused: write celery_generation: {generation + 1} beside the new passwords, so that they "
                "are those of new users and the old ones stay good until everybody has moved."
            )
    return found


def missing(users: Iterable[Mapping[str, Any]], present: Present) -> list[str]:
    """Users that should be there."""
    return [user["name"] for user in users if user["name"] not in present]


def left_over(users: Iterable[Mapping[str, Any]], present: Iterable[str]) -> list[str]:
    """Users of former generations that are still there."""
    there = set(present)
    return [name for user in users for name in user["former"] if name in there]


def still_used(connections: Iterable[Mapping[str, Any]], names: Iterable[str]) -> str | None:
    """One sentence about connections of these users; None where there is none."""
    wanted = set(names)
    peers: dict[str, list[str]] = {}
    for connection in connections:
        if connection["user"] in wanted:
            peers.setdefault(connection["user"], []).append(_address(connection["peer_host"]))
    if not peers:
        return None
    shown = "; ".join(
        f"{name} ({len(hosts)} connections from {', '.join(sorted(set(hosts)))})"
        for name, hosts in sorted(peers.items())
    )
    return (
        f"Old users are still in use, and stay: {shown}. Give whoever connects from there the new user and password, "
        "and run this playbook again."
    )


def _address(peer: Any) -> str:
    """RabbitMQ's JSON shows an address as its numbers."""
    if not isinstance(peer, list):
        return str(peer)
    return ".".join(map(str, peer)) if len(peer) == 4 else ":".join(f"{part:x}" for part in peer)
