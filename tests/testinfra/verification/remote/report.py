# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks each worker what it is. Runs on a host inside the application's environment."""

from typing import Any

TIMEOUT = 15


def main(data: Any) -> dict[str, Any]:
    """What the workers of these nodes say about themselves, by question and node."""
    from celery.utils.imports import symbol_by_name

    app = symbol_by_name(data["app"])
    inspect = app.control.inspect(destination=data["nodes"], timeout=TIMEOUT)
    return {
        "stats": inspect.stats() or {},
        "active_queues": inspect.active_queues() or {},
        "conf": inspect.conf(with_defaults=True) or {},
    }
