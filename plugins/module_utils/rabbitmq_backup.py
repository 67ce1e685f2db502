# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a RabbitMQ's saved definitions comes back, and what stands in the way.

What the inventory declares is the inventory's affair, with the passwords of today; a backup brings everything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmq import DEFAULTS, IDENTITY

Document = dict[str, list[dict[str, Any]]]
#: What a definitions document has besides: it has no other identity than all of itself.
MORE = ("parameters", "topic_permissions")
#: Exchanges that Celery's workers make for themselves whenever they run.
_OWN = re.compile(r"celeryev|(reply\.)?celery\.pidbox")
_ORDER = (
    "vhosts",
    "users",
    "permissions",
    "topic_permissions",
    "parameters",
    "policies",
    "queues",
    "exchanges",
    "bindings",
)
#: Not data: they come with every node, or follow from something that is told of already.
_TACIT = ("vhosts", "permissions", "bindings")


def declaration(vhost: str, users: Iterable[str], objects: Mapping[str, Any]) -> dict[str, Any]:
    """What the inventory declares, by kind; of each object what identifies it."""
    names = list(users)
    return {
        **objects,
        "vhosts": [{"name": vhost}],
        "users": [{"name": name} for name in names],
        "permissions": [{"user": name, "vhost": vhost} for name in names],
    }


def key(kind: str, item: Mapping[str, Any]) -> str:
    """What identifies an object of a definitions document."""
    whole = {**DEFAULTS.get(kind, {}), **item}
    return json.dumps([whole.get(name) for name in IDENTITY[kind]] if kind in IDENTITY else whole, sort_keys=True)


def beyond(document: Mapping[str, Any], declared: Mapping[str, Any]) -> Document:
    """Everything in a definitions document that is not declared."""
    left: Document = {}
    for kind in _ORDER:
        known = {key(kind, item) for item in declared.get(kind) or []}
        items = [item for item in document.get(kind) or [] if key(kind, item) not in known and not _is_own(kind, item)]
        if items:
            left[kind] = items
    return left


def _is_own(kind: str, item: Mapping[str, Any]) -> bool:
    return kind == "exchanges" and _OWN.fullmatch(str(item["name"])) is not None


def in_the_way(
    current: Mapping[str, Any], declared: Mapping[str, Any], messages: Iterable[tuple[str, int]]
) -> str | None:
    """One sentence about what a node has that is more than what is declared; None where it is as good as new."""
    found = [f"{count} messages in {queue}" for queue, count in messages if count]
    for kind, items in beyond(current, declared).items():
        if kind not in _TACIT:
            found.append(
                f"{kind} that are not declared: {', '.join(sorted(str(item.get('name', '?')) for item in items))}"
            )
    if not found:
        return None
    return (
        f"RabbitMQ is in use, with {'; '.join(found)}, and a backup would be mixed into that: restore onto a fresh "
        "broker, or write -e restore_over=true to overwrite what has the same name and leave the rest."
    )


def lacking(current: Mapping[str, Any], wanted: Document) -> list[str]:
    """What was to be restored and is not there."""
    missing = []
    for kind, items in wanted.items():
        there = {key(kind, item) for item in current.get(kind) or []}
        missing += [
            f"{kind[:-1]} {item.get('name', key(kind, item))}" for item in items if key(kind, item) not in there
        ]
    return missing
