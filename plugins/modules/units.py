#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring systemd units into their wanted state, and restart those that run with old files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: units
short_description: Bring systemd units into their wanted state, and restart those that run with old files
description:
  - Enables, disables, masks, starts and stops any number of units in one task; those that start, start together.
  - Restarts exactly the units that were started before something they watch was changed. The files' times are
    compared with the unit's start, so a play that was interrupted between change and restart is not forgotten.
  - A unit's own file and drop-ins below C(/etc/systemd/system) are always watched.
  - Reloads systemd's configuration when, and only when, systemd says that it is out of date.
author: celeryops.stack maintainers (@celeryops)
options:
  units:
    description: The units.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the unit; C(.service) may be left out. An instance of a template is a unit.
        type: str
        required: true
      watch:
        description:
          - Files, folders (everything below, except C(__pycache__)) and links (themselves) that it reads at start.
        type: list
        elements: path
        default: []
      state:
        description: V(absent) stops and disables; the unit file is removed elsewhere.
        type: str
        choices: [started, stopped, absent]
        default: started
      enabled:
        description: Whether it starts with the host; by default it does when its state is V(started).
        type: bool
      masked:
        description: Whether nobody can start it.
        type: bool
        default: false
      twin:
        description:
          - Another instance of the same template, such as V(celery-worker-critical@1-next.service), that can take its
            place. Before the unit is restarted its twin is started, and must come up; then the unit is restarted, and
            then the twin is stopped. So there is never less at work than before, and when what is new does not come
            up the unit has not been touched.
        type: str
      hold:
        description: Paths; while one of them exists the unit is kept stopped, though it stays enabled.
        type: list
        elements: path
        default: []
  surge:
    description: How many units may be restarted at a time with their twins beside them; with V(0) all are, in place.
    type: int
    default: 0
  restart:
    description:
      - Whether what runs with old files is restarted. V(false) reports it, for those who restart it in another way.
    type: bool
    default: true
  changed_paths:
    description:
      - Paths that this play changed, as M(celeryops.stack.files) returns them; units that watch one are restarted.
      - In check mode this is how a unit is known to be restarted; also a changed owner or mode is known only from here.
    type: list
    elements: path
    default: []
  timeout:
    description: Seconds to wait for all units; by default what the units' own time-outs allow.
    type: int
  skip_missing:
    description: Whether units that systemd knows no file of are left out, instead of being an error.
    type: bool
    default: false
  prune:
    description:
      - A shell pattern of unit names, such as V(celery-worker-*@*.service). Every unit that matches it and is loaded,
        running, failed or enabled, but not in O(units), is stopped within its own stop time-out and disabled.
      - This comes last, when everything in O(units) is up, for all such units at once.
      - Then unit files of templates below C(/etc/systemd/system) that match it are removed, unless a unit in O(units)
        is an instance of theirs, and so are slices that are named like them (V(celery-worker-old.slice)). Their
        drop-ins stay.
      - A pattern that also matches units of the system itself, such as V(*.service), is refused.
    type: str
  prune_marker:
    description: Text that the file of a unit must hold for O(prune) to touch it, so that others' units are left alone.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says what it would do; a unit whose file does not exist yet would be started.
    support: full
  diff_mode:
    description: Shows the steps.
    support: full
"""

EXAMPLES = r"""
- name: Service | Start what the plan says
  celeryops.stack.units:
    changed_paths: "{{ __worker_files.changed_paths }}"
    units:
      - name: celery-worker-critical@1.service
        watch: [/etc/celery/settings.json, /opt/celery/app/current]
      - {name: celery-worker-old@1.service, state: absent}

- name: Service | Run these workers and no others
  celeryops.stack.units:
    units:
      - name: celery-worker-critical@1.service
    prune: celery-worker-*@*.service
    prune_marker: CELERYOPS_SETTINGS=/etc/celery/settings.json
"""

RETURN = r"""
failed_units:
  description: Units that did not come up, or were left as before because others did not.
  type: list
  elements: str
  returned: failure
output:
  description: The last journal lines of the units that did not come up.
  type: str
  returned: failure
started:
  description: Units that were not running and now are.
  type: list
  elements: str
  returned: always
restarted:
  description: Units that ran with old files, or crashed again and again.
  type: list
  elements: str
  returned: always
stale:
  description: Units that run with old files, and were not restarted because of O(restart).
  type: list
  elements: str
  returned: always
stopped:
  description: Units that were running and no longer are.
  type: list
  elements: str
  returned: always
enabled:
  description: Units that were not enabled and now are.
  type: list
  elements: str
  returned: always
disabled:
  description: Units that were enabled and no longer are.
  type: list
  elements: str
  returned: always
held:
  description: Units that are kept stopped, because of a path in O(units[].hold).
  type: list
  elements: str
  returned: always
pruned:
  description:
    - Units that were not declared and are stopped and disabled now, and templates (and their slices) whose file was
      removed.
  type: list
  elements: str
  returned: always
reloaded:
  description: Whether systemd's configuration was reloaded.
  type: bool
  returned: always
"""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.failures import Failure
from ansible_collections.celeryops.stack.plugins.module_utils.systemctl import Failed, Systemd
from ansible_collections.celeryops.stack.plugins.module_utils.systemd import (
    OWN_FILES,
    Seen,
    Steps,
    Wanted,
    batches,
    full_name,
    holds,
    is_stale,
    out_of_date,
    patience,
    plan,
    refusal,
    slices,
    stray_templates,
    strays,
)

SETTLE = 1.0
"""Seconds that a unit which can not report readiness must stay up."""

JOURNAL_LINES = 15


class Down(Failure):
    """Units did not come up; the text tells why, the output is their journal."""

    def __init__(self, story: str, journals: str, units: Sequence[str]) -> None:
        super().__init__(story, journals)
        self.units = sorted(units)


def journal(name: str, since: float) -> str:
    """Return what a unit logged since a moment."""
    command = ["journalctl", "--no-pager", "--quiet", "--output=short", f"--since=@{since:.6f}", "--unit", name]
    try:
        done = subprocess.run([*command, f"--lines={JOURNAL_LINES}"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "(this host has no journalctl)"
    return done.stdout.rstrip() or "(nothing in its journal)"


def objection(units: Sequence[Wanted], seen: Mapping[str, Seen], steps: Steps, check_mode: bool) -> str | None:
    """Say what makes the steps impossible, if anything."""
    for unit in units:
        if unit.state == "started" and not seen[unit.name].known and not check_mode:
            return f"units: there is no unit {unit.name} on this host: write its unit file first."
        if unit.name in steps.enable and seen[unit.name]["UnitFileState"] == "static":
            return (
                f"units: {unit.name} can not be enabled, because it has no [Install] section: "
                "add one, or set enabled: false."
            )
    return None


@dataclass(frozen=True)
class Restarts:
    """How units are restarted."""

    before: Mapping[str, Seen]
    """The units as they were before systemd read their present files."""
    twins: Mapping[str, str]
    surge: int = 0
    timeout: int | None = None


def converge(systemd: Systemd, steps: Steps, how: Restarts) -> None:
    """Take the steps, and fail when a unit does not come up."""
    for verb in ("unmask", "stop", "disable", "mask", "enable"):
        names = getattr(steps, verb)
        if names:
            systemd.must(verb, "--", *names)
    if steps.reset:
        systemd.run("reset-failed", "--", *steps.reset)
    overlapping = [name for name in steps.restart if how.surge and name in how.twins and how.before[name].running]
    begin(systemd, {"restart": [name for name in steps.restart if name not in overlapping], "start": steps.start}, how)
    for batch in batches(overlapping, how.surge or 1):
        overlap(systemd, batch, how)
    if overlapping:  # each was told to already; what they have begun they finish
        systemd.must("stop", "--", *(how.twins[name] for name in overlapping))


def begin(systemd: Systemd, verbs: Mapping[str, Sequence[str]], how: Restarts) -> None:
    """Start or restart units, and fail when one does not come up."""
    begun = [name for names in verbs.values() for name in names]
    if not begun:
        return
    seen = systemd.show(begun)
    since = time.time()
    restarted = verbs.get("restart", ())
    wait = (
        how.timeout
        or max(patience(seen[name], how.before.get(name, seen[name]) if name in restarted else None) for name in begun)
        + 15
    )
    for verb, chosen in verbs.items():
        if chosen:
            systemd.run(verb, "--", *chosen, timeout=max(since + wait - time.time(), 1))
    report(systemd, settle(systemd, begun), since)


def overlap(systemd: Systemd, names: Sequence[str], how: Restarts) -> None:
    """Restart units while their twins do the work."""
    twins = [how.twins[name] for name in names]
    try:
        begin(systemd, {"restart": twins}, how)  # not start: one may be left from a run that was interrupted
    except Down as down:
        systemd.must("stop", "--", *twins)
        systemd.run("reset-failed", "--", *twins)
        left = f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} left as before"
        raise Down(f"{down}; {left}.", down.output, names) from None
    begin(systemd, {"restart": names}, how)
    systemd.must("stop", "--no-block", "--", *twins)


def settle(systemd: Systemd, names: Sequence[str]) -> dict[str, Seen]:
    """Look at units that were just started; those that can not report readiness are watched for a moment."""
    first = seen = systemd.show(names)
    unsure = [name for name in names if first[name]["Type"] in ("simple", "exec", "idle")]
    end = time.monotonic() + SETTLE
    while unsure and time.monotonic() < end and all(seen[name].running for name in names):
        time.sleep(0.1)
        seen = {**seen, **systemd.show(unsure)}
    return seen


def report(systemd: Systemd, seen: dict[str, Seen], since: float) -> None:
    """Raise with a sentence and the journal of every unit that is not up."""
    once = {name for name, found in seen.items() if found["Type"] == "oneshot" and found["ActiveState"] == "inactive"}
    down = {
        name: found
        for name, found in seen.items()
        if not found.running and not (name in once and found["Result"] == "success")
    }
    if not down:
        return
    stories = [f"{name} did not come up: {found.why()}" for name, found in down.items()]
    journals = [f"The last journal lines of {name}:\n{journal(name, since)}" for name in down]
    raise Down("; ".join(stories), "\n".join(journals), list(down))


def prune(
    systemd: Systemd, pattern: str, marker: str, declared: Sequence[str], check_mode: bool
) -> tuple[Steps, list[str]]:
    """End what matches the pattern and is not declared; return the steps and the files of templates that it took."""
    found = strays(pattern, systemd.loaded(pattern), declared, OWN_FILES)
    names = [name for name in found if holds(name, marker, OWN_FILES)]
    steps = plan([Wanted(name, "absent") for name in names], systemd.show(names), ())
    steps = replace(steps, reset=(*steps.stop, *steps.reset))  # what had to be killed would stay as failed
    templates = stray_templates(pattern, declared, OWN_FILES)
    files = [path for path in templates if holds(os.path.basename(path), marker, OWN_FILES)]
    empty = slices(files)
    files += empty
    if not check_mode:
        converge(systemd, steps, Restarts({}, {}))
        if empty:
            systemd.must("stop", "--", *map(os.path.basename, empty))
        for path in files:
            os.unlink(path)
        if files:
            systemd.must("daemon-reload")
    return steps, files


UNIT: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "watch": {"type": "list", "elements": "path", "default": []},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "enabled": {"type": "bool"},
    "masked": {"type": "bool", "default": False},
    "twin": {"type": "str"},
    "hold": {"type": "list", "elements": "path", "default": []},
}


def is_held(entry: dict[str, Any]) -> bool:
    """Whether a path keeps it stopped."""
    return entry["state"] == "started" and any(os.path.lexists(path) for path in entry["hold"])


def wanted(entry: dict[str, Any]) -> Wanted:
    """Read one entry of the module's units."""
    enabled = entry["state"] == "started" if entry["enabled"] is None else entry["enabled"]
    state = "stopped" if is_held(entry) else entry["state"]
    twin = full_name(entry["twin"]) if entry["twin"] else ""
    return Wanted(full_name(entry["name"]), state, enabled, entry["masked"], tuple(entry["watch"]), twin)


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do the work and return the result."""
    systemd = Systemd()
    units = [wanted(entry) for entry in module.params["units"]]
    names = [unit.name for unit in units]
    for unit in units:
        if names.count(unit.name) > 1:
            raise Failed(f"units: {unit.name} is listed twice.")
        if unit.masked and unit.state == "started":
            raise Failed(f"units: {unit.name} can not be both masked and started.")
    if module.params["skip_missing"]:
        known = systemd.show(names)
        units = [unit for unit in units if known[unit.name].known]
        names = [unit.name for unit in units]
    held = [entry["name"] for entry in module.params["units"] if is_held(entry)]
    pattern = module.params["prune"]
    if pattern is not None and (sentence := refusal(pattern)):
        raise Failed(sentence)
    seen = before = systemd.show(names)
    unknown = any(unit.state == "started" and not seen[unit.name].known for unit in units)
    reload = any(out_of_date(name, found) for name, found in seen.items()) or (unknown and not module.check_mode)
    if reload and not module.check_mode:
        systemd.must("daemon-reload")
        seen = systemd.show(names)
    clock = time.time() - time.monotonic()
    changed_paths = module.params["changed_paths"]
    stale = {
        unit.name
        for unit in units
        if is_stale(seen[unit.name], unit.watch, changed_paths, clock, check_mode=module.check_mode)
    }
    left = set() if module.params["restart"] else {name for name in stale if seen[name].running}
    steps = plan(units, seen, stale - left)
    if sentence := objection(units, seen, steps, module.check_mode):
        raise Failed(sentence)
    twins = {unit.name: unit.twin for unit in units if unit.twin}
    try:
        if steps and not module.check_mode:
            converge(systemd, steps, Restarts(before, twins, module.params["surge"], module.params["timeout"]))
        marker, check_mode = module.params["prune_marker"], module.check_mode
        surplus, files = prune(systemd, pattern, marker, names, check_mode) if pattern else (Steps(), [])
    except Down as down:
        module.fail_json(**down.result(), failed_units=down.units)
    result: dict[str, Any] = {
        "changed": bool(steps or surplus or files) or reload,
        "reloaded": reload or bool(files),
        "started": list(steps.start),
        "restarted": list(steps.restart),
        "stale": sorted(left),
        "stopped": list(steps.stop),
        "enabled": list(steps.enable),
        "disabled": list(steps.disable),
        "held": [name for name in map(full_name, held) if name in names],
        "pruned": [*sorted({*surplus.stop, *surplus.disable, *surplus.reset}), *map(os.path.basename, files)],
    }
    if module._diff:
        lines = [
            f"{verb} {name}\n"
            for part in (steps, surplus)
            for verb in Steps.__dataclass_fields__
            for name in getattr(part, verb)
        ]
        lines += [f"remove {path}\n" for path in files]
        result["diff"] = {"before": "", "after": "".join(lines), "before_header": "units", "after_header": "units"}
    return result


def main() -> None:
    """Declare the arguments and run."""
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "dict", "required": True, "options": UNIT},
            "surge": {"type": "int", "default": 0},
            "restart": {"type": "bool", "default": True},
            "changed_paths": {"type": "list", "elements": "path", "default": []},
            "timeout": {"type": "int"},
            "skip_missing": {"type": "bool", "default": False},
            "prune": {"type": "str"},
            "prune_marker": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except Failed as failed:
        module.fail_json(msg=str(failed))


if __name__ == "__main__":
    main()
