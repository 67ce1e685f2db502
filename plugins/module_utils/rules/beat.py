# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes beat impossible on a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the variables of the role."""
    found = []
    if not values.get("celery_broker_password"):
        found.append("celery_broker_password is not set; write the broker's password for beat into a vault")
    here, planned = values.get("inventory_hostname"), values.get("beat_host")
    if planned and here != planned:
        found.append(
            f"beat belongs on {planned}, and {here} would be a second one that sends every scheduled task again; "
            "take the role beat off this host"
        )
    return found
