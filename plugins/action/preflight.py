# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply rules to values, on the controller, before any host is touched: a role's, or everything of all hosts."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.celeryops.stack.plugins.module_utils.tables import plan_table, producer_settings
from ansible_collections.celeryops.stack.plugins.plugin_utils.deployment import Deployment, check


def counted(problems: list[str]) -> str:
    """How many."""
    return "1 thing has" if len(problems) == 1 else f"{len(problems)} things have"


class ActionModule(ActionBase):
    """Fail with one sentence a problem."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"role", "values", "plan"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the rules."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result["changed"] = False
        arguments = self._task.args
        if "role" in arguments:
            problems = check(arguments["role"], arguments.get("values", {}))
        else:
            deployment = self._deployment(task_vars or {})
            wants_plan = bool(arguments.get("plan"))
            problems = deployment.problems(services=not wants_plan)
            if problems:
                problems.insert(0, f"Nothing was changed, as {counted(problems)} to be corrected first:")
            if wants_plan and not problems:
                plans = {host.name: host.plan for host in deployment.checked}
                result["plans"] = {name: plan_table(plan) for name, plan in plans.items()}
                result["producer"] = producer_settings(next(iter(plans.values())))
        if problems:
            result.update(failed=True, msg="\n".join(problems))
        return result

    def _deployment(self, task_vars: dict[str, Any]) -> Deployment:
        manager, play = self._task.get_variable_manager(), self._task.get_play()
        more = {**play.get_vars(), **manager.extra_vars}
        return Deployment(self._loader, task_vars, more, getattr(manager, "_nonpersistent_fact_cache", {}))
