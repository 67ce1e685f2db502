# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a lock in the name of this run, or fail and say who has it."""

from __future__ import annotations

import getpass
import os
import socket
from typing import Any

from ansible.plugins.action import ActionBase


def here() -> dict[str, str]:
    """Where this run's process number means something: containers may share the name of their host."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return {"controller": socket.gethostname(), "user": getpass.getuser(), "space": space}


def is_dead(holder: dict[str, Any]) -> bool:
    """Whether it is known that the run that holds the lock has ended: it was this controller's, of this account."""
    if any(holder.get(key) != value for key, value in here().items()):
        return False
    try:
        os.kill(int(holder.get("process", 0)), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class ActionModule(ActionBase):
    """Ask the host; take over from the dead."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it."""
        super().run(tmp, task_vars)
        # Tasks run in processes of their own, whose parent is ansible-playbook.
        ours = {**here(), "process": os.getppid()}
        result = self._call(task_vars, _holder=ours)
        if result.get("taken") and is_dead(result["holder"]):
            if self._task.check_mode or self._task.args.get("state") == "free":
                return {**result, "taken": False}
            result = self._call(task_vars, _holder=ours, _instead_of=result["holder"])
        if not result.get("taken"):
            return result
        other, host = result["holder"], (task_vars or {}).get("inventory_hostname", "the host")
        result.update(
            failed=True,
            msg=f"{other.get('purpose', 'another run')} is going on since {other.get('since', 'just now')}, by "
            f"{other.get('user', '?')}@{other.get('controller', '?')} (process {other.get('process', '?')}): wait "
            f"until it has ended; if that process is dead, remove {self._task.args.get('path')} on {host} and repeat.",
        )
        return result

    def _call(self, task_vars: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="celeryops.stack.lock", module_args={**self._task.args, **more}, task_vars=task_vars
        )
        return result
