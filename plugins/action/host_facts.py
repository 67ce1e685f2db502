# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the host, and compare its clock with this machine's."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ansible.plugins.action import ActionBase


def between(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """An answer, with bounds instead of its time: the host looked at its clock between our two looks at ours."""
    before = time.time()
    answer = ask()
    after = time.time()
    if "time" in answer:
        there = float(answer.pop("time"))
        answer["clock"] = [there - after, there - before]
    return answer


class ActionModule(ActionBase):
    """Run the module between two looks at the clock."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it."""
        super().run(tmp, task_vars)
        module = {"module_name": "celeryops.stack.host_facts", "module_args": self._task.args, "task_vars": task_vars}
        return between(lambda: self._execute_module(**module))
