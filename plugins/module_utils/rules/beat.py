# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes beat impossible on a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.rules import values as check
from ansible_collections.celeryops.stack.plugins.module_utils.rules.celery import plan_or_problems


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the variables of the role."""
    declaration = values.get("declaration") or {}
    plan, found = plan_or_problems(declaration)
    if not values.get("celery_broker_password") and (not plan or plan["broker"]["user"]):
        found.append("celery_broker_password is not set; write the broker's password for beat into a vault")
    here, planned = declaration.get("inventory_hostname"), plan.get("beat", {}).get("host")
    if planned and here != planned:
        found.append(
            f"beat belongs on {planned}, and {here} would be a second one that sends every scheduled task again; "
            "take the role beat off this host"
        )
    found += check.size("beat_memory_max", values.get("beat_memory_max", "512M"), 64)
    return found
