# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes workers impossible on a host, besides the declaration itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.rules.celery import plan_or_problems

#: systemd settings that the plan owns, and where to write them instead.
OWNED = {
    "ExecStart": "celery_workers",
    "KillMode": "nothing: any other mode would lose running tasks",
    "KillSignal": "nothing: any other signal would lose running tasks",
    "TimeoutStopSec": "stop_timeout in celery_workers",
    "MemoryMax": "memory_max in celery_workers",
    "TasksMax": "tasks_max in celery_workers",
    "LimitNOFILE": "nofile in celery_workers",
    "WatchdogSec": "watchdog in celery_workers",
    "Type": "nothing: a worker reports by itself when it consumes",
}


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the variables of the role."""
    plan, found = plan_or_problems(values.get("declaration") or {})
    if not values.get("celery_broker_password"):
        found.append("celery_broker_password is not set; write the broker's password for the workers into a vault")
    if plan and plan["result_backend"]["kind"] != "none" and not values.get("celery_result_password"):
        found.append(
            "celery_result_password is not set; write the result backend's password into a vault, "
            "or 'celery_result_backend: none'"
        )
    options = values.get("worker_service_options") or {}
    if not isinstance(options, Mapping):
        return [*found, "worker_service_options is not a mapping; write systemd's names, like {PrivateTmp: false}"]
    found += [
        f"worker_service_options.{name} would overrule the plan; write {OWNED[name]}"
        for name in options
        if name in OWNED
    ]
    return found
