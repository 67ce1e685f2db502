# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply a role's rules to its values, on the controller, before any host is touched."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

RULES = "ansible_collections.celeryops.stack.plugins.module_utils.rules"


def check(role: object, values: object) -> list[str]:
    """Return the sentences that role's rules have to say about values."""
    if not isinstance(role, str) or not re.fullmatch(r"[a-z_]+", role):
        return [f"preflight: role {role!r} is not the name of a role: write, for example, role: worker."]
    if not isinstance(values, Mapping):
        return ["preflight: values must be a mapping of the role's variables."]
    try:
        rules = importlib.import_module(f"{RULES}.{role}")
    except ModuleNotFoundError:
        return [f"preflight: role {role} has no rules: plugins/module_utils/rules/{role}.py is missing."]
    return [str(sentence) for sentence in rules.problems(values)]


class ActionModule(ActionBase):
    """Fail with one sentence a problem."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"role", "values"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the rules."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        problems = check(self._task.args.get("role"), self._task.args.get("values", {}))
        result.update(changed=False, problems=problems)
        if problems:
            result.update(failed=True, msg="\n".join(problems))
        return result
