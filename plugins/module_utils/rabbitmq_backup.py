# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a RabbitMQ's saved definitions comes back, and what stands in the way.

What the inventory declares is the inventory's affair, with the passwords of today; a backup brings everything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
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
#: What others name.
_NAMED = ("vhosts", "users", "queues", "exchanges")


def declaration(
    vhost: str, users: Iterable[str], objects: Mapping[str, Any], former: Iterable[str] = ()
) -> dict[str, Any]:
    """What the inventory declares, by kind; of each object what identifies it. Former users were declared once."""
    names = list(users)
    return {
        "former": [{"name": name} for name in former],
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
    """Everything in a definitions document that is not declared, and can be imported."""
    saved = consistent_definitions(document)
    sources = {json.dumps([item["vhost"], item["source"]]) for item in saved.get("bindings") or []}
    left: Document = {}
    for kind in _ORDER:
        known = {key(kind, item) for item in declared.get(kind) or []}
        known |= {key(kind, item) for item in declared.get("former") or [] if kind == "users"}
        items = [item for item in saved.get(kind) or [] if key(kind, item) not in known]
        if kind == "exchanges":
            items = [item for item in items if not _OWN.fullmatch(item["name"]) or key(kind, item) in sources]
        left[kind] = items
    there = {kind: [*(declared.get(kind) or []), *left[kind]] for kind in _NAMED}
    return {kind: kept for kind, items in left.items() if (kept := _possible(kind, items, there))}


def consistent_definitions(document: Mapping[str, Any]) -> dict[str, Any]:
    """A definitions document without what names an object that is not in it: RabbitMQ would end the import there.

    Such are the bindings of queues that live as long as a connection: these queues are in no export.
    """
    return {
        kind: _possible(kind, items, document) if kind in _ORDER and items else items
        for kind, items in document.items()
    }


def _possible(kind: str, items: Iterable[dict[str, Any]], there: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of a kind that name no other one that is not there."""
    known = {(named, key(named, item)) for named in _NAMED for item in there.get(named) or []}

    def is_there(named: str, item: Mapping[str, Any]) -> bool:
        return (named, key(named, item)) in known or _is_everywhere(named, item)

    return [item for item in items if all(is_there(*other) for other in _names(kind, item))]


def _names(kind: str, item: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects that one names, each with its kind."""
    if "vhost" in item:
        yield "vhosts", {"name": item["vhost"]}
    if "user" in item:
        yield "users", {"name": item["user"]}
    if kind == "bindings":
        yield "exchanges", {"vhost": item["vhost"], "name": item["source"]}
        destination = {**DEFAULTS[kind], **item}["destination_type"]
        yield f"{destination}s", {"vhost": item["vhost"], "name": item["destination"]}


def _is_everywhere(kind: str, item: Mapping[str, Any]) -> bool:
    """Exchanges that every virtual host has, and no export."""
    return kind == "exchanges" and (not item["name"] or item["name"].startswith("amq."))


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
