# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be true of the role redis's values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.redis import group_problems, majority
from ansible_collections.celeryops.stack.plugins.module_utils.rules import values as check

#: Where the passwords of the default users come from.
ORIGIN = (
    "by default celery_broker_password, celery_monitor_password, celery_producer_password or celery_result_password"
)
ALLOW = "redis_allow_public"
FSYNC = ("always", "everysec", "no")
_RULE = re.compile(r"[+\-~&%][^\s]*|[a-z]+")
#: Rules that would let somebody in without the password that the entry names.
_OPEN = ("nopass", "on", "off", "reset", "resetpass")


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that is wrong."""
    found = check.address("redis_address", values.get("redis_address"), values.get(ALLOW, False), ALLOW)
    found += check.count("redis_port", values.get("redis_port"), 1, 65535)
    found += check.count("redis_databases", values.get("redis_databases"), 1, 1024)
    found += check.count("redis_maxclients", values.get("redis_maxclients"), 32)
    found += check.size("redis_maxmemory", values.get("redis_maxmemory"), 16)
    if values.get("redis_appendfsync") not in FSYNC:
        found.append(
            f"redis_appendfsync is {values.get('redis_appendfsync')!r}: write {', '.join(FSYNC[:-1])} or {FSYNC[-1]}, "
            "in quotes."
        )
    found += _users(values.get("redis_users"))
    found += _former(values.get("redis_former_users"))
    found += _settings(values.get("redis_settings"))
    found += _replicas(values)
    return found


def _replicas(values: Mapping[str, Any]) -> list[str]:
    """Only where there are several: whether a replica can take over, and nobody else can."""
    replicas = values.get("redis_replicas") or []
    if not isinstance(replicas, list) or not all(
        isinstance(r, Mapping) and {"name", "address"} <= {*r} for r in replicas
    ):
        return ["redis_replicas must be a list of mappings: write - {name: redis1, address: 10.0.0.11}."]
    names = [str(replica["name"]) for replica in replicas]
    if len(names) < 2:
        return []
    found = group_problems("broker or backend", names, "the role redis")
    found += check.secret("redis_sentinel_password", values.get("redis_sentinel_password"))
    user = values.get("redis_sentinel_user")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", str(user or "")) or user == "default":
        found.append(
            f"redis_sentinel_user is {user!r}: use letters, digits, '_', '.' and '-', and another than default."
        )
    if user in [other.get("name") for other in values.get("redis_users") or [] if isinstance(other, Mapping)]:
        found.append(f"redis_sentinel_user is {user!r}, which redis_users names, too: give Sentinel a user of its own.")
    found += check.count("redis_sentinel_port", values.get("redis_sentinel_port"), 1, 65535)
    found += check.count("redis_sentinel_down_after", values.get("redis_sentinel_down_after"), 1, 300)
    found += check.count("redis_min_replicas", values.get("redis_min_replicas"), 0, len(names) - 1)
    if not (wrong := check.count("redis_sentinel_quorum", values.get("redis_sentinel_quorum"), 1)):
        quorum, needed = int(values["redis_sentinel_quorum"]), majority(len(names))
        if quorum > len(names):
            found.append(
                f"redis_sentinel_quorum is {quorum}, but there are {len(names)} Sentinels, so no replica could ever "
                f"take over: write {needed}."
            )
        elif quorum < needed:
            found.append(f"redis_sentinel_quorum is {quorum}, no majority of {len(names)} Sentinels: write {needed}.")
    found += wrong
    loopback = [str(replica["name"]) for replica in replicas if str(replica["address"]).startswith("127.")]
    if loopback:
        found.append(
            f"redis_replicas has a loopback address for {', '.join(loopback)}, where the others cannot reach it: set "
            "celery_address to its private one."
        )
    return found


def _users(users: object) -> list[str]:
    if not isinstance(users, list) or not all(isinstance(user, Mapping) for user in users):
        return ["redis_users must be a list of mappings: write - {name: ..., password: ..., rules: [...]}."]
    if not users:
        return ["redis_users is empty, so nobody could use Redis: name at least one user."]
    found: list[str] = []
    names: list[str] = []
    for number, user in enumerate(users, 1):
        name = user.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            found.append(f"redis_users: the name of entry {number} is {name!r}: use letters, digits, '_', '.' and '-'.")
            continue
        if name == "default":
            found.append("redis_users names default, which is switched off here: choose another name.")
        if name in names:
            found.append(f"redis_users: {name} is there twice: give each user one entry.")
        names.append(name)
        found += check.secret(f"redis_users: the password of {name} ({ORIGIN})", user.get("password"))
        found += _rules(name, user.get("rules"))
    return found


def _former(names: object) -> list[str]:
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return []
    return ["redis_former_users must be a list of names: write [] for none."]


def _rules(name: str, rules: object) -> list[str]:
    if not isinstance(rules, list) or not rules:
        return [f"redis_users: the rules of {name} must be a list of ACL rules, such as ['~*', '&*', '+@read']."]
    return [
        f"redis_users: {name} has the rule {rule!r}: write one ACL rule such as ~*, &*, +@read or -@dangerous; "
        "passwords and on/off are set by the role."
        for rule in rules
        if rule in _OPEN or not isinstance(rule, str) or not _RULE.fullmatch(rule)
    ]


def _settings(settings: object) -> list[str]:
    if not isinstance(settings, Mapping):
        return ["redis_settings must be a mapping of lines of redis.conf: write {} for none."]
    return [
        f"redis_settings: {key} does not fit on one line of redis.conf: write key: value, both on one line."
        for key, value in settings.items()
        if not re.fullmatch(r"[a-z0-9-]+", str(key)) or "\n" in str(value)
    ]
