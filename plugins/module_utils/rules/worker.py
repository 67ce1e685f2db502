# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes workers impossible on a host, besides the declaration itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.rules import values as check
from ansible_collections.celeryops.stack.plugins.module_utils.rules.celery import plan_or_problems


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the variables of the role."""
    plan, found = plan_or_problems(values.get("declaration") or {})
    if not values.get("celery_broker_password") and (not plan or plan["broker"]["user"]):
        found.append("celery_broker_password is not set; write the broker's password for the workers into a vault")
    backend = plan["result_backend"] if plan else {"kind": "none"}
    if backend["kind"] != "none" and backend["user"] and not values.get("celery_result_password"):
        found.append(
            "celery_result_password is not set; write the result backend's password into a vault, "
            "or 'celery_result_backend: none' or application"
        )
    found += check.count("worker_surge", values.get("worker_surge"), 0)
    return found
