# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a RabbitMQ may be upgraded now, and to what.

https://www.rabbitmq.com/docs/upgrade#rabbitmq-version-upgradability
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.cluster import not_running

Version = tuple[int, int, int]
_ENDS = "the broker goes on serving as it is"


def parse(version: str) -> Version:
    """The numbers of a package's version, such as 4.0.5-8; ValueError where there are none."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", version)
    if not found:
        raise ValueError(f"{version!r} is no version of RabbitMQ")
    return int(found[1]), int(found[2]), int(found[3])


def hop_problem(installed: str, wanted: str, *, older: bool = False) -> str | None:
    """One sentence about a step that RabbitMQ does not support; ``older``: to the package manager it is one back."""
    old, new = parse(installed), parse(wanted)
    if older or new < old:
        return (
            f"{wanted} is older than {installed}, and RabbitMQ cannot go back: its data would not be read. To return, "
            "restore definitions onto fresh hosts, as docs/runbooks/restore.md says."
        )
    if old[0] == 3 and new[0] >= 4 and old[:2] != (3, 13):
        return (
            f"From {installed} to {wanted} no step is supported: go to 3.13 first (rabbitmq_repository), one minor "
            "version at a time; or empty the broker and restore its definitions onto fresh hosts, as "
            "docs/runbooks/restore.md says."
        )
    if old[0] == new[0] == 3 and new[1] > old[1] + 1:
        return f"From {installed} to {wanted} versions are left out: go to 3.{old[1] + 1} first (rabbitmq_version)."
    return None


def state_problems(status: Mapping[str, Any], disabled_flags: list[str]) -> list[str]:
    """One sentence for each thing that is wrong with a cluster as ``rabbitmqctl cluster_status`` shows it."""
    found = []
    if alarms := status.get("alarms"):
        found.append(
            f"There are alarms ({', '.join(sorted({_alarm(each) for each in alarms}))}): see to these first; {_ENDS}."
        )
    if partitions := status.get("partitions"):
        found.append(f"The cluster is partitioned ({', '.join(sorted(partitions))}): mend that first; {_ENDS}.")
    if missing := not_running(status):
        found.append(down(missing))
    if disabled_flags:
        found.append(
            f"Feature flags of this version are not enabled ({', '.join(sorted(disabled_flags))}), and the next one "
            "may need them: run 'rabbitmqctl enable_feature_flag all' first."
        )
    return found


def down(nodes: list[str]) -> str:
    """The sentence about nodes that are away."""
    return f"{', '.join(nodes)} does not run: bring it back, or remove it, first; {_ENDS}."


def _alarm(alarm: Any) -> str:
    if isinstance(alarm, Mapping):
        return f"{alarm.get('resource') or alarm.get('type')} on {alarm.get('node')}"
    return str(alarm)
