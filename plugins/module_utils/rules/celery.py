# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the declaration itself unusable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.plan import PlanError, make_plan


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the ``celery_*`` variables."""
    try:
        make_plan(values, str(values.get("inventory_hostname", "localhost")))
    except PlanError as error:
        return error.problems
    return []
