# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the declaration itself unusable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.plan import PlanError, make_plan


def plan_or_problems(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The plan of the host that the values are of; or an empty one, and one sentence for each fault."""
    try:
        return make_plan(values, str(values.get("inventory_hostname", "localhost"))), []
    except PlanError as error:
        return {}, error.problems


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the ``celery_*`` variables."""
    return plan_or_problems(values)[1]
