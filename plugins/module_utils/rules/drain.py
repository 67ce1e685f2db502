# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be drained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.drain import consumers, queues_of
from ansible_collections.celeryops.stack.plugins.module_utils.plan import did_you_mean


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each fault of the variables of playbooks/drain.yml."""
    host, queue = str(values.get("host") or ""), str(values.get("queue") or "")
    hosts = [str(each) for each in values.get("hosts") or []]
    workers: Mapping[str, Any] = values.get("workers") or {}
    if bool(host) == bool(queue):
        both = "both host and queue are set" if host else "neither host nor queue is set"
        return [f"{both}; write one of them: -e host=<a worker host> or -e queue=<a queue>"]
    if host and host not in hosts:
        return [
            f"host is '{host}', which is not in the inventory group 'worker'{did_you_mean(host, hosts)}; "
            f"write one of {', '.join(hosts)}"
        ]
    if host:
        return []
    found = consumers(workers, queue)
    if not found:
        known = list(dict.fromkeys(name for entry in workers for name in queues_of(workers, entry)))
        return [
            f"queue is '{queue}', which no entry of celery_workers consumes{did_you_mean(queue, known)}; "
            f"write one of {', '.join(known)}"
        ]
    return [
        f"queue is '{queue}', whose worker '{entry}' also consumes {', '.join(others)}, which it would take along; "
        "give the queue an entry of its own in celery_workers first, or drain a host"
        for entry in found
        if (others := [name for name in queues_of(workers, entry) if name != queue])
    ]
