# SPDX-License-Identifier: GPL-3.0-or-later
"""What a RabbitMQ node has, what it shall have, and what is to be sent to make the two agree.

Both sides are documents in the format of RabbitMQ's definitions (``GET`` and ``POST /api/definitions``), so
whatever differs can be sent back as it is. Nothing here talks to a broker.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Definitions = dict[str, list[Object]]

HASHING = "rabbit_password_hashing_sha256"
EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}

#: The parts of a definitions document that are kept, in the order in which RabbitMQ needs them: what identifies
#: an object, and what RabbitMQ assumes where nothing is said.
IDENTITY: dict[str, tuple[str, ...]] = {
    "users": ("name",),
    "vhosts": ("name",),
    "permissions": ("user", "vhost"),
    "policies": ("vhost", "name"),
    "queues": ("vhost", "name"),
    "exchanges": ("vhost", "name"),
    "bindings": ("vhost", "source", "destination_type", "destination", "routing_key", "arguments"),
}
DEFAULTS: dict[str, Object] = {
    "users": {"tags": []},
    "vhosts": {},
    "permissions": {},
    "policies": {"apply-to": "all", "priority": 0},
    "queues": {"durable": True, "auto_delete": False, "arguments": {}},
    "exchanges": {"type": "direct", "durable": True, "auto_delete": False, "internal": False, "arguments": {}},
    "bindings": {"destination_type": "queue", "routing_key": "", "arguments": {}},
}
#: What RabbitMQ cannot change in place; everything else is overwritten.
FIXED: dict[str, tuple[str, ...]] = {
    "queues": ("durable", "auto_delete", "arguments"),
    "exchanges": ("type", "durable", "auto_delete", "internal", "arguments"),
}


_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass
class Changes:
    """What a node lacks."""

    #: Definitions to import: only what is missing or differs.
    to_import: Definitions = field(default_factory=dict)
    #: Users to remove.
    to_delete: list[str] = field(default_factory=list)
    #: Sentences about objects that exist and cannot be changed.
    conflicts: list[str] = field(default_factory=list)
    #: The same for people, one line an object, without any secret.
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.to_import or self.to_delete)


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Hash a password the way RabbitMQ does: https://www.rabbitmq.com/docs/passwords."""
    salt = os.urandom(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def password_matches(password: str, user: Mapping[str, Any]) -> bool:
    """Is this the password of a user that was read back?"""
    if user.get("hashing_algorithm", HASHING) != HASHING:
        return False
    try:
        salt = base64.b64decode(user.get("password_hash") or "", validate=True)[:4]
    except ValueError:
        return False
    return hmac.compare_digest(password_hash(password, salt), str(user.get("password_hash")))


def administrator(name: str, password: str) -> Object:
    """The user that everything else is done as."""
    return {"name": name, "password": password, "tags": ["administrator"]}


def desired(
    vhost: str,
    users: Iterable[Mapping[str, Any]],
    objects: Mapping[str, Iterable[Mapping[str, Any]]],
) -> Definitions:
    """Put the role's input into one definitions document; users still carry their passwords."""
    document: Definitions = {kind: [dict(item) for item in objects.get(kind) or []] for kind in IDENTITY}
    document["vhosts"].append({"name": vhost})
    for user in users:
        document["users"].append({key: user[key] for key in ("name", "password", "tags")})
        document["permissions"].append({"user": user["name"], "vhost": vhost, **user["permissions"]})
    return {kind: [_complete(kind, item) for item in items] for kind, items in document.items() if items}


def retired(current: Mapping[str, Any], wanted: Definitions) -> dict[tuple[str, str], set[str]]:
    """Queues that were declared once and no longer are, by virtual host and name, each with its siblings.

    They are still bound to a declared exchange by their own names; whatever else is bound there so are their siblings.
    """
    declared = {_key("queues", item) for item in wanted.get("queues", [])}
    exchanges = {_key("exchanges", item) for item in wanted.get("exchanges", [])}
    there = {_key("queues", item) for item in current.get("queues") or []}

    def by_own_name(bindings: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
        return (b for b in bindings if b["destination_type"] == "queue" and b["routing_key"] == b["destination"])

    siblings: dict[tuple[str, str], set[str]] = {}
    for each in by_own_name(wanted.get("bindings", [])):
        siblings.setdefault((each["vhost"], each["source"]), set()).add(each["destination"])
    found: dict[tuple[str, str], set[str]] = {}
    for each in by_own_name(_complete("bindings", item) for item in current.get("bindings") or []):
        queue = _key("queues", {"vhost": each["vhost"], "name": each["destination"]})
        exchange = _key("exchanges", {"vhost": each["vhost"], "name": each["source"]})
        if queue in there - declared and exchange in exchanges:
            found[each["vhost"], each["destination"]] = siblings.get((each["vhost"], each["source"]), set())
    return found


def with_retired(wanted: Definitions, queues: Mapping[tuple[str, str], set[str]]) -> Definitions:
    """Let what covers all of a retired queue's siblings cover it too: policies and rights, until it is deleted.

    Its workers stop only after the broker was told of it, and its messages may wait for long.
    """
    patterns = {"policies": ("pattern",), "permissions": ("configure", "write", "read")}
    extended = {kind: [dict(item) for item in items] for kind, items in wanted.items()}
    for (vhost, name), siblings in sorted(queues.items()):
        for kind, keys in patterns.items():
            for item in (item for item in extended.get(kind, []) if item["vhost"] == vhost):
                for key in keys:
                    covered = {each for each in (name, *siblings) if _matches(item[key], each)}
                    if siblings and covered == siblings:
                        item[key] += f"|^{re.escape(name)}$"
    return extended


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:  # RabbitMQ's regular expressions know more than Python's
        return False


def leftover(queues: Iterable[Mapping[str, Any]]) -> str:
    """One sentence about queues that nobody declares any more."""
    names = ", ".join(f"{queue['name']} ({queue['messages']} messages)" for queue in queues)
    return (
        f"RabbitMQ keeps queues that nobody declares any more, and what they hold waits for ever: {names}; declare "
        "them again, or delete them with playbooks/delete_queue.yml."
    )


def may_be_deleted(
    queue: str, vhost: str, declared: Iterable[str], found: Mapping[str, int] | None, with_messages: bool
) -> str | None:
    """One sentence about why a queue must not be deleted; ``found`` is None where there is none of that name."""
    if not queue:
        return "No queue is named: write -e queue=NAME."
    if not _QUEUE.fullmatch(queue):
        return f"{queue!r} is no queue of Celery's: its name may hold letters, digits, '.', '_' and '-' only."
    if queue in declared:
        return (
            f"The queue {queue} is declared: take it out of celery_workers, run site.yml, delete it when it is empty."
        )
    if found is None:
        return f"RabbitMQ has no queue {queue} in {vhost}: look for its name in 'rabbitmqctl list_queues -p {vhost}'."
    if found["consumers"]:
        return (
            f"The queue {queue} has {found['consumers']} consumers, which would lose it: stop them first; site.yml "
            "stops the workers of an entry that is gone."
        )
    messages = found["ready"] + found["held"]
    if messages and not with_messages:
        return (
            f"The queue {queue} holds {messages} messages, {found['held']} of them with somebody who works on them: "
            "declare it again until it is empty, or write -e with_messages=true to lose them."
        )
    return None


def compare(current: Mapping[str, Any], wanted: Definitions, absent_users: Iterable[str] = ()) -> Changes:
    """Find what is to be sent so that everything wanted is there; what else exists stays as it is."""
    changes = Changes()
    for kind, items in wanted.items():
        existing = {_key(kind, item): item for item in (_complete(kind, there) for there in current.get(kind) or [])}
        for item in items:
            there = existing.get(_key(kind, item))
            if there is not None and _equal(kind, there, item):
                continue
            conflict = _conflict(kind, there, item) if there is not None else None
            if conflict:
                changes.conflicts.append(conflict)
                continue
            label = _label(kind, item)
            if there is not None:
                changes.before[label] = _shown(kind, there, item)
            changes.after[label] = _shown(kind, item, item)
            changes.to_import.setdefault(kind, []).append(_sendable(kind, item))
    kept = {user["name"] for user in wanted.get("users", [])}
    present = {user["name"] for user in current.get("users") or []}
    changes.to_delete = sorted(present & set(absent_users) - kept)
    changes.before.update({_label("users", {"name": name}): "present" for name in changes.to_delete})
    return changes


def api_url(address: str, port: int, scheme: str = "http") -> str:
    """Where the management API is reached from its own host."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 (reached, not bound)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def reason(status: int, body: bytes) -> str:
    """Say what RabbitMQ's management API answered."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    said = (answer.get("reason") or answer.get("error")) if isinstance(answer, dict) else None
    return f"{said} (HTTP {status})" if said else f"HTTP {status}"


def _complete(kind: str, item: Mapping[str, Any]) -> Object:
    whole = {**DEFAULTS[kind], **item}
    if kind == "users":  # until RabbitMQ 3.9 one string, with commas
        tags = whole["tags"].split(",") if isinstance(whole["tags"], str) else whole["tags"]
        whole["tags"] = sorted(tag.strip() for tag in tags if tag.strip())
    return whole


def _key(kind: str, item: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(json.dumps(item[key], sort_keys=True) for key in IDENTITY[kind])


def _arguments(item: Mapping[str, Any]) -> Object:
    """A queue's arguments; some versions spell the default type out, others do not."""
    return {"x-queue-type": "classic", **item["arguments"]}


def _equal(kind: str, there: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    if kind == "users":
        return bool(there["tags"] == item["tags"]) and password_matches(item["password"], there)
    if kind == "queues" and _arguments(there) != _arguments(item):
        return False
    skipped = ("arguments",) if kind == "queues" else ()
    return all(there.get(key) == value for key, value in item.items() if key not in skipped)


def _conflict(kind: str, there: Mapping[str, Any], item: Mapping[str, Any]) -> str | None:
    """One sentence about an object that would have to be deleted first."""
    differing = []
    for key in FIXED.get(kind, ()):
        is_dict = key == "arguments"
        has = _arguments(there) if is_dict and kind == "queues" else there[key]
        wants = _arguments(item) if is_dict and kind == "queues" else item[key]
        if not is_dict:
            has, wants = {key: has}, {key: wants}
        for name in sorted({*has, *wants}):
            if has.get(name) != wants.get(name):
                differing.append(f"{name} {_value(has.get(name))} instead of {_value(wants.get(name))}")
    if not differing:
        return None
    return (
        f"The {_label(kind, item)} exists with {', '.join(differing)}, which RabbitMQ cannot change in place, and "
        f"nothing is ever deleted here: empty and delete it by hand, or give the new one another name."
    )


def _value(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _label(kind: str, item: Mapping[str, Any]) -> str:
    if kind == "permissions":
        return f"permissions of {item['user']} in {item['vhost']}"
    if kind == "bindings":
        key = f" by {item['routing_key']}" if item["routing_key"] else ""
        return f"binding {item['source']} -> {item['destination_type']} {item['destination']}{key} in {item['vhost']}"
    noun = {"policies": "policy"}.get(kind, kind[:-1])
    return f"{noun} {item['name']}" + (f" in {item['vhost']}" if "vhost" in item else "")


def _shown(kind: str, item: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The object as the diff shows it: without what the label says, and without secrets."""
    if kind == "users":
        same = item is wanted or password_matches(wanted["password"], item)
        return f"tags {', '.join(item['tags']) or 'none'}; password {'as wanted' if same else 'another one'}"
    shown = {key: value for key, value in item.items() if key not in IDENTITY[kind] and key in wanted}
    return json.dumps(shown, sort_keys=True) if shown else "present"


def _sendable(kind: str, item: Mapping[str, Any]) -> Object:
    if kind != "users":
        return dict(item)
    user = {key: value for key, value in item.items() if key != "password"}
    return {**user, "password_hash": password_hash(item["password"]), "hashing_algorithm": HASHING}
