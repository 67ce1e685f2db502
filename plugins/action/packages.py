# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages: ask dpkg, which answers at once, and call apt only for what is missing."""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible.plugins.action import ActionBase

#: Names that dpkg can be asked for; anything else, such as a version or a glob, is apt's to judge.
PLAIN = re.compile(r"^[a-z0-9][a-z0-9+.-]+$")
#: How every role installs: no service starts before its configuration is there, nothing comes along unasked.
APT = {"install_recommends": False, "policy_rc_d": 101, "cache_valid_time": 3600}


def missing(names: list[str], listed: str) -> list[str]:
    """The names that a listing of 'status package' lines does not show as installed."""
    installed = {line.split()[1] for line in listed.splitlines() if line.startswith("ii ")}
    return [name for name in names if name not in installed]


class ActionModule(ActionBase):
    """Install what is not there."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"name"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args.get("name") or []
        names = [given] if isinstance(given, str) else [str(name) for name in given]
        plain = [name for name in names if PLAIN.match(name)]
        query = ["dpkg-query", "--show", "--showformat", r"${db:Status-Abbrev} ${Package}\n", *plain]
        listed = self._low_level_execute_command(shlex.join(query))["stdout"] if plain else ""
        wanted = missing(names, listed)
        if wanted:
            arguments = {"name": wanted, **APT}
            result.update(self._execute_module("ansible.builtin.apt", arguments, task_vars=task_vars))
        else:
            result.update(changed=False)
        return result
