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


def in_use(prepared: Mapping[str, Any]) -> str:
    """What a host uses after a roll-out that failed: what it had, or what it came from when that was only half done."""
    return str(prepared.get("fallback") or prepared.get("current") or "")


def _failed(prepared: Mapping[str, Mapping[str, Any]], problem: str, present: Collection[str]) -> str:
    hosts_of: dict[str, list[str]] = {}
    for host, each in prepared.items():
        if host in present:
            hosts_of.setdefault(in_use(each) or "no release", []).append(host)
    if len(hosts_of) <= 1:
        where = "every host" if len(present) == len(prepared) else "every host that can be reached"
        return f"The old release is in use on {where}, because:\n{problem}"
    releases = "; ".join(f"{release} on {', '.join(hosts)}" for release, hosts in hosts_of.items())
    return (
        f"The hosts use what they used before, which differs: {releases}. Run release.yml again when this is mended, "
        f"or rollback.yml -e release=<id>:\n{problem}"
    )


def outcome_of(
    hosts: Hosts, asked: Collection[str], present: Collection[str], check_mode: bool = False
) -> dict[str, Any]:
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
        return {"ok": False, "sentence": _failed(prepared, problem, present)}
    releases = sorted({str(each.get("release")) for each in prepared.values()})
    before = sorted({str(each.get("current")) for each in prepared.values() if each.get("current")} - {*releases})
    instead = f", instead of {', '.join(before)}" if before else ", as before"
    verb = "would be" if check_mode else "is"
    commits = sorted({str(each["commit"]) for each in prepared.values() if each.get("commit")})
    made_of = f" Its commit is {', '.join(commits)}." if commits else ""
    return {"ok": True, "sentence": f"{', '.join(releases)} {verb} in use on {', '.join(asked)}{instead}.{made_of}"}
