# SPDX-License-Identifier: GPL-3.0-or-later
"""How a roll-out goes, as filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.rollout import outcome_of, problem_of, sentence_of


class FilterModule:
    """What this file offers to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"sentence": sentence_of, "rollout_problem": problem_of, "rollout_outcome": outcome_of}
