# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a module in this process."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a module and returns its result."""

    def run(module_name: str, /, *, check: bool = False, diff: bool = False, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.celeryops.stack.plugins.modules.{module_name}")
        capsys.readouterr()
        internal = {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}  # noqa: S108
        with patch_module_args({**arguments, **internal}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run
