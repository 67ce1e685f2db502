# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping workers away, as filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.drain import drain_files, drain_report


class FilterModule:
    """What this file offers to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"drain_files": drain_files, "drain_report": drain_report}
