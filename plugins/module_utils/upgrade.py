# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a RabbitMQ may be upgraded now, and to what."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.cluster import not_running

Version = tuple[int, int, int]
Series = tuple[int, int]

#: The oldest version of each series from which a series can be reached in one step.
#: Until 4.0: https://www.rabbitmq.com/docs/4.0/upgrade#rabbitmq-version-upgradability
#: Later: "This release series supports upgrades from ..." in the notes of the first release of each series,
#: https://github.com/rabbitmq/rabbitmq-server/blob/main/release-notes/4.1.0.md, 4.2.0.md and 4.3.0.md
STEPS: dict[Series, tuple[Version, ...]] = {
    (3, 8): ((3, 7, 18),),
    (3, 9): ((3, 8, 0),),
    (3, 10): ((3, 9, 0),),
    (3, 11): ((3, 10, 0),),
    (3, 12): ((3, 11, 18),),
    (3, 13): ((3, 12, 0),),
    (4, 0): ((3, 13, 0),),
    (4, 1): ((3, 13, 0), (4, 0, 0)),
    (4, 2): ((3, 13, 0), (4, 0, 0), (4, 1, 0)),
    (4, 3): ((4, 2, 0),),
}
_SWITCH = "or drain and switch, as docs/runbooks/switch-broker.md says"
_ENDS = "the broker goes on serving as it is"


def parse(version: str) -> Version:
    """The numbers of a package's version, such as 4.0.5-8; ValueError where there are none."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)\.(\d+)", version)
    if not found:
        raise ValueError(f"{version!r} is no version of RabbitMQ")
    return int(found[1]), int(found[2]), int(found[3])


def route(old: Version, new: Series) -> list[Series] | None:
    """The fewest steps from a version to a series, which is the last of them; None where there is no way.

    It begins with the version's own series where only a later version of that leads on.
    """
    ways: list[list[Series]] = [[old[:2]]]
    for way in ways:
        if way[-1] == new:
            leads_on = any(_leads(old, source) for source in STEPS[way[1]])
            return way[1:] if leads_on else way
        known = {each[-1] for each in ways}
        ways += [[*way, to] for to, froms in STEPS.items() if to not in known and way[-1] in {f[:2] for f in froms}]
    return None


def _leads(version: Version, source: Version) -> bool:
    return version[:2] == source[:2] and version >= source


def hop_problem(installed: str, wanted: str, *, older: bool = False) -> str | None:
    """One sentence about a step that RabbitMQ does not support; ``older``: to the package manager it is one back."""
    old, new = parse(installed), parse(wanted)
    if older or new < old:
        return (
            f"rabbitmq_version leads to {wanted}, which is older than {installed}, and RabbitMQ cannot go back: its "
            f"data would not be read. Leave it, {_SWITCH}."
        )
    if new[:2] == old[:2] or any(_leads(old, source) for source in STEPS.get(new[:2], ())):
        return None
    cannot = f"rabbitmq_version leads from {installed} to {wanted}"
    if new[:2] not in STEPS:
        return (
            f"{cannot}, and which versions can be upgraded to that is not known here: set it to "
            f"{_written(max(STEPS))} or older, {_SWITCH}."
        )
    if hops := route(old, new[:2]):
        way = ", then to ".join(map(_written, hops))
        return f"{cannot}, which RabbitMQ does not support in one step: set it to {way}, {_SWITCH}."
    return f"{cannot}, to which RabbitMQ has no steps: {_SWITCH.removeprefix('or ')}."


def _written(series: Series) -> str:
    """A series as rabbitmq_version names it."""
    return f"{series[0]}.{series[1]}."


def store_problem(installed: str, wanted: str, enabled_flags: Collection[str]) -> str | None:
    """One sentence about metadata that no later version reads: Khepri was an experiment in 3.13.

    https://www.rabbitmq.com/docs/metadata-store/khepri-faq
    """
    if parse(installed)[:2] != (3, 13) or parse(wanted) < (4, 0, 0) or "khepri_db" not in enabled_flags:
        return None
    return (
        f"rabbitmq_version leads from {installed} to {wanted}, which does not read the metadata of 3.13 with the "
        f"feature flag khepri_db, and that cannot be disabled again: {_SWITCH.removeprefix('or ')}."
    )


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
