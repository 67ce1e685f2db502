# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the variables of the role flower unusable."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.celeryops.stack.plugins.module_utils.rules.values import address, count, secret, size

# What the role sets itself, and the variable to set instead.
OWN_OPTIONS = {
    "address": "set flower_address",
    "port": "set flower_port",
    "basic_auth": "set flower_user and flower_password",
    "broker_api": "set flower_broker_api",
    "cookie_secret": "leave it out: it follows from flower_password",
    "db": "leave it out: the state is kept in /var/lib/flower",
    "max_tasks": "set flower_max_tasks",
    "persistent": "leave it out: the state is always kept",
    "unix_socket": "leave it out: Flower listens on flower_address",
}
SCHEMES = ("amqp", "amqps", "redis", "rediss", "sentinel")


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the ``flower_*`` variables."""
    where = str(values["flower_address"])
    return [
        *address("flower_address", where, values.get("flower_allow_public"), "flower_allow_public"),
        *count("flower_port", values["flower_port"], 1024, 65535),
        *_login(where, str(values.get("flower_user") or ""), values.get("flower_password")),
        *_broker(str(values.get("flower_broker_url") or "")),
        *_api(str(values.get("flower_broker_api") or "")),
        *count("flower_max_tasks", values["flower_max_tasks"], 100, 1_000_000),
        *size("flower_memory_max", values["flower_memory_max"], 64),
        *(
            f"flower_options sets {name}, which the role sets itself: {instead}."
            for name, instead in OWN_OPTIONS.items()
            if name in (values.get("flower_options") or {})
        ),
    ]


def is_loopback(where: str) -> bool:
    """Whether only the machine itself can reach this address."""
    try:
        return ipaddress.ip_address(where).is_loopback
    except ValueError:
        return False


def _login(where: str, user: str, password: object) -> list[str]:
    if not user and not password:
        if is_loopback(where):
            return []
        return [
            f"flower_address is {where}, so others could reach Flower, which can stop workers, without a login: "
            "set flower_user and flower_password, or set flower_address to 127.0.0.1."
        ]
    if not user:
        return ["flower_password is set but flower_user is empty: set both, or neither."]
    if ":" in user or any(character.isspace() for character in user):
        return ["flower_user contains a colon or a blank, which a basic login cannot carry: leave it out."]
    return secret("flower_password", password)


def _broker(url: str) -> list[str]:
    if urlsplit(url).scheme in SCHEMES:
        return []
    what = "has a scheme that Flower cannot watch" if url else "is empty"
    return [f"flower_broker_url {what}: set celery_broker, or a URL that begins with one of {', '.join(SCHEMES)}."]


def _api(url: str) -> list[str]:
    if not url:
        return []
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.endswith("/api/"):
        return [
            "flower_broker_api is no management API: write http://HOST:15672/api/, with the slash at its end, "
            "or leave it empty."
        ]
    if parts.username:
        return ["flower_broker_api contains a login: leave it out, that of flower_broker_url is used."]
    return []
