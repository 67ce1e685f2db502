# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a host is: a second deployment on it would take over the first one's units, files, users and passwords."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

#: On the host; at one place whatever a deployment's own folders are called.
MARK = "/etc/celeryops.json"
#: What has said the application's name since before there was a mark.
SETTINGS = "/etc/celery/settings.json"


def found(mark: str = MARK, settings: str = SETTINGS) -> dict[str, str]:
    """The mark of this host; empty where it is nobody's, or where a file is not to be read."""
    if given := _read(mark):
        return {key: str(value) for key, value in given.items()}
    application = _read(settings).get("app")
    return {"deployment": str(application)} if application else {}


def problem(mark: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Why a deployment that has, or had, these names may not have a host with this mark."""
    other, known = str(mark.get("deployment") or ""), [name for name in names if name]
    if not other or other in known:
        return None
    which = (
        f" (there called '{mark.get('host')}', in the inventory '{mark.get('inventory')}')" if mark.get("host") else ""
    )
    if not known:
        return (
            f"the host is that of the deployment '{other}'{which}, and this one has no name, so it could be another; "
            f"use another host, or, where it is the same one, write 'celery_deployment: {other}'"
        )
    return (
        f"the host is that of the deployment '{other}'{which}, and this one, '{known[0]}', would take its place; use "
        f"another host, or, where both are one that has a new name, write 'celery_replaces: {other}'"
    )


def _read(path: str) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
