# SPDX-License-Identifier: GPL-3.0-or-later
"""RabbitMQ's definitions, as filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmq_backup import consistent_definitions


class FilterModule:
    """What this file offers to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"consistent_definitions": consistent_definitions}
