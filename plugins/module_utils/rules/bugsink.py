# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the variables of the role bugsink unusable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.celeryops.stack.plugins.module_utils.rules.values import address, count, secret, shown, size


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the ``bugsink_*`` variables."""
    return [
        *address(
            "bugsink_address", values["bugsink_address"], values.get("bugsink_allow_public"), "bugsink_allow_public"
        ),
        *count("bugsink_port", values["bugsink_port"], 1024, 65535),
        *_web_address(str(values["bugsink_base_url"])),
        *_email(str(values.get("bugsink_admin_email") or "")),
        *secret("bugsink_admin_password", values.get("bugsink_admin_password")),
        *_signing_key(values.get("bugsink_secret_key")),
        *_digits("bugsink_project_key", values.get("bugsink_project_key"), 16),
        *_digits("bugsink_api_token", values.get("bugsink_api_token"), 20),
        *count("bugsink_project_id", values["bugsink_project_id"]),
        *count("bugsink_max_events", values["bugsink_max_events"], 100),
        *count("bugsink_web_workers", values["bugsink_web_workers"], 1, 64),
        *size("bugsink_memory_max", values["bugsink_memory_max"], 64),
        *(
            f"{name} is empty: give it a name."
            for name in ("bugsink_team", "bugsink_project", "bugsink_title")
            if not str(values.get(name) or "").strip()
        ),
    ]


def _web_address(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or any(character.isspace() for character in url):
        return [
            f"bugsink_base_url is '{shown(url)}', which is no web address: write one such as https://errors.example.org."
        ]
    if url.endswith("/") or parts.query or parts.fragment or parts.username:
        return [
            f"bugsink_base_url is '{shown(url)}': write scheme, host, port and path only, without a slash at the end."
        ]
    return []


def _email(text: str) -> list[str]:
    if re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        return []
    return [f"bugsink_admin_email is '{text}', which is no e-mail address: write one such as ops@example.org."]


def _signing_key(value: object) -> list[str]:
    found = secret("bugsink_secret_key", value)
    if not found and len(str(value)) < 32:
        return [f"bugsink_secret_key has only {len(str(value))} characters: use 32 or more."]
    return found


def _digits(variable: str, value: object, size_in_bytes: int) -> list[str]:
    text = str(value or "")
    if re.fullmatch(rf"[0-9a-f]{{{2 * size_in_bytes}}}", text):
        return []
    what = f"is not {2 * size_in_bytes} digits of 0-9 and a-f" if text else "is empty"
    return [f"{variable} {what}: make one with 'openssl rand -hex {size_in_bytes}' and keep it in a vault."]
