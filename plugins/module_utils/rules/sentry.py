# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the variables of the role sentry unusable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

EXAMPLE = "write it as the tracker shows it, such as https://KEY@errors.example.org/1"


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the ``sentry_*`` variables; the key in the DSN appears in none."""
    dsn = str(values.get("sentry_dsn") or "")
    return [
        *(dsn_problems(dsn) if dsn else []),
        *_rate_problems(values.get("sentry_sample_rate", 0.0)),
        *_environment_problems(str(values.get("sentry_environment") or "")),
        *_test_problems(dsn, bool(values.get("sentry_test_event"))),
    ]


def dsn_problems(dsn: str) -> list[str]:
    """Faults of a DSN: the first that would keep an event from arriving."""
    if any(character.isspace() or not character.isprintable() for character in dsn):
        return [f"sentry_dsn contains a blank or a line break: {EXAMPLE}."]
    try:
        parts = urlsplit(dsn)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return [f"sentry_dsn is no web address: its host or its port is malformed: {EXAMPLE}."]
    if parts.scheme not in ("http", "https"):
        return [f"sentry_dsn starts with neither http:// nor https://: {EXAMPLE}."]
    if not parts.username:
        return [f"sentry_dsn has no public key before an @: {EXAMPLE}."]
    if not host:
        return [f"sentry_dsn has no host after the @: {EXAMPLE}."]
    if not re.fullmatch(r"[0-9]+", parts.path.rpartition("/")[2]):
        return [f"sentry_dsn does not end in a project number: {EXAMPLE}."]
    if parts.query or parts.fragment:
        return [f"sentry_dsn goes on after the project number: {EXAMPLE}."]
    return []


def _rate_problems(value: Any) -> list[str]:
    try:
        rate = float(str(value))
    except ValueError:
        rate = -1.0
    if 0.0 <= rate <= 1.0:
        return []
    return [f"sentry_sample_rate is '{value}', which is no share: write a number from 0.0 (none) to 1.0 (all)."]


def _environment_problems(name: str) -> list[str]:
    # Sentry's own rule: at most 64 characters, no slash, no blank, not the word None.
    if name == "None" or not re.fullmatch(r"[^\s/]{1,64}", name):
        return [
            f"sentry_environment is '{name}', which trackers refuse: "
            "write 1 to 64 characters without blanks and slashes, such as production."
        ]
    return []


def _test_problems(dsn: str, wanted: bool) -> list[str]:
    if wanted and not dsn:
        return ["sentry_test_event is on but sentry_dsn is empty: set celery_sentry_dsn, or turn the test event off."]
    return []
