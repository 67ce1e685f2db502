# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a roll-out: from the facts that its plays left on the hosts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Hosts = Mapping[str, Mapping[str, Any]]


def sentence_of(result: Mapping[str, Any]) -> str:
    """What a failed task said: a command's own last words, or its message."""
    said = str(result.get("stderr") or result.get("stdout") or "").strip() if result.get("rc") else ""
    what = str(result.get("msg") or "it failed").strip()
    return f"{what}: {said}" if said else what


def problem_of(hosts: Hosts, asked: Collection[str], present: Collection[str]) -> str:
    """Why the roll-out stops: each host's problem, and each host that is gone; empty when it may go on."""
    stories = {host: str(hosts[host].get("__rollout_problem") or "") for host in asked}
    stories |= {host: stories[host] or "it can not be reached" for host in asked if host not in present}
    hosts_of: dict[str, list[str]] = {}
    for host, story in stories.items():
        if story:
            hosts_of.setdefault(story, []).append(host)
    return "\n".join(f"{', '.join(names)}: {story}" for story, names in hosts_of.items())


def outcome_of(hosts: Hosts, asked: Collection[str], present: Collection[str]) -> dict[str, Any]:
    """How the roll-out ended, as ``ok`` and a ``sentence``."""
    prepared = {host: hosts[host].get("__app_prepared") or {} for host in asked}
    stuck = {host: str(hosts[host]["__rollout_stuck"]) for host in asked if hosts[host].get("__rollout_stuck")}
    problem = problem_of(hosts, asked, present)
    if stuck:
        stories = "\n".join(f"{host}: {story}" for host, story in stuck.items())
        return {
            "ok": False,
            "sentence": f"The new release failed:\n{problem}\nand the old one could not be put back everywhere; run "
            f"rollback.yml when this is mended:\n{stories}",
        }
    if problem:
        return {"ok": False, "sentence": f"The old release is in use on every host, because:\n{problem}"}
    releases = sorted({str(each.get("release")) for each in prepared.values()})
    before = sorted({str(each.get("current")) for each in prepared.values() if each.get("current")} - {*releases})
    instead = f", instead of {', '.join(before)}" if before else ", as before"
    return {"ok": True, "sentence": f"{', '.join(releases)} is in use on {', '.join(asked)}{instead}."}
