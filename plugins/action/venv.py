# SPDX-License-Identifier: GPL-3.0-or-later
"""Hide the environment of pip and uv on its way: an index's URL may hold a password."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeryops.stack.plugins.module_utils.trees import pack


def hide(environment: object) -> str:
    """Pack the environment into the one word of a hidden parameter."""
    if not isinstance(environment, Mapping):
        raise AnsibleActionFail("environment must be a mapping of names to values, such as {PIP_CERT: /etc/ca.pem}.")
    return pack({"environment": json.dumps({str(name): str(value) for name, value in environment.items()}).encode()})


class ActionModule(ActionBase):
    """Run the module."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        arguments["_environment"] = hide(arguments.pop("environment", None) or {})
        result: dict[str, Any] = self._execute_module(
            module_name="celeryops.stack.venv", module_args=arguments, task_vars=task_vars
        )
        return result
