# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the host, and compare its clock with this machine's."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Run the module between two looks at the clock."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it."""
        super().run(tmp, task_vars)
        before = time.time()
        result: dict[str, Any] = self._execute_module(
            module_name="celeryops.stack.host_facts", module_args=self._task.args, task_vars=task_vars
        )
        if "time" in result:
            there = float(result.pop("time"))
            # The host looked at its clock at some moment in between, however long the way was.
            result["clock"] = [there - time.time(), there - before]
        return result
