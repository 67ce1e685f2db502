# SPDX-License-Identifier: GPL-3.0-or-later
"""What a systemd unit is, what it should be, and what has to be done about the difference."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

OWN_FILES = "/etc/systemd/system/"
"""Unit files and drop-ins below this folder belong to the administrator; a unit older than they are is stale."""

PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "DropInPaths", "NeedDaemonReload", "Type",
    "Result", "StatusText", "ExecMainCode", "ExecMainStatus", "NRestarts", "ActiveEnterTimestampMonotonic",
    "ExecMainStartTimestampMonotonic", "TimeoutStartUSec", "TimeoutStopUSec", "MainPID",
)  # fmt: skip

SUFFIXES = ("service", "target", "timer", "socket", "mount", "path", "slice", "scope", "swap", "automount", "device")
SECONDS = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800, "month": 2629800, "y": 31557600,
}  # fmt: skip
EITHER = frozenset({"alias", "indirect", "generated", "transient"})
"""States of a unit file that `systemctl enable` and `disable` do not change."""
ENABLED = EITHER | {"enabled", "enabled-runtime"}
DISABLED = EITHER | {"disabled", "static", "masked", "masked-runtime", ""}
UP = frozenset({"active", "reloading"})

CORE = (
    "dbus.service", "systemd-journald.service", "getty@tty1.service", "basic.target", "dbus.socket", "user.slice",
    "init.scope", "-.mount", "systemd-tmpfiles-clean.timer", "systemd-ask-password-console.path",
)  # fmt: skip
"""Units of systemd itself, one or two of each kind: a pattern that matches one of them is too wide."""


def full_name(name: str) -> str:
    """Add .service to a name without a suffix, as systemctl does."""
    return name if name.rpartition(".")[2] in SUFFIXES else f"{name}.service"


def template(name: str) -> str:
    """Return the template that a unit is an instance of; a unit that is not one, as it is."""
    return re.sub(r"@.*(?=\.)", "@", name)


def seconds(span: str) -> float | None:
    """Read a time span as `systemctl show` prints it ("1min 30s"); None when it has no end or is not known."""
    parts = re.findall(r"([\d.]+)\s*([a-z]+)", span)
    if not parts or any(unit not in SECONDS for _number, unit in parts):
        return None
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


@dataclass(frozen=True)
class Wanted:
    """A unit as the playbook wants it."""

    name: str
    state: str = "started"
    enabled: bool = True
    masked: bool = False
    watch: tuple[str, ...] = ()
    twin: str = ""
    """A unit that takes its place while it restarts."""


@dataclass(frozen=True)
class Seen:
    """A unit as systemd shows it."""

    properties: Mapping[str, str]
    linked: bool = False
    """Whether a .wants or .requires folder still names it, although it has no unit file any more."""

    def __getitem__(self, name: str) -> str:
        return self.properties.get(name, "")

    @property
    def known(self) -> bool:
        """Whether systemd found a unit file, or the mask of one."""
        return self["LoadState"] != "not-found"

    @property
    def running(self) -> bool:
        """Whether it is up."""
        return self["ActiveState"] in UP

    @property
    def looping(self) -> bool:
        """Whether it has crashed and waits for its next try."""
        return self["SubState"].startswith("auto-restart")

    @property
    def started_at(self) -> float:
        """Seconds on the monotonic clock at which its present start began; 0 when it has not been started."""
        stamps = (self["ExecMainStartTimestampMonotonic"], self["ActiveEnterTimestampMonotonic"])
        return next((int(stamp) / 1e6 for stamp in stamps if stamp.isdecimal() and int(stamp)), 0.0)

    @property
    def own_files(self) -> list[str]:
        """Its unit file and drop-ins that belong to the administrator."""
        files = [self["FragmentPath"], *self["DropInPaths"].split()]
        return [path for path in files if path.startswith(OWN_FILES)]

    def why(self) -> str:
        """Say in a few words how it is doing."""
        states = {"failed": "it has failed", "inactive": "it has stopped", "activating": "it is still starting"}
        state = states.get(self["ActiveState"], f"it is {self['ActiveState']}")
        if self.looping:
            state = "it crashes again and again"
        details = [f"result: {self['Result']}"] if self["Result"] not in ("", "success") else []
        if self["ExecMainStatus"] not in ("", "0"):
            kind = "exit status" if self["ExecMainCode"] == "1" else "signal"
            details.append(f"{kind} {self['ExecMainStatus']}")
        if self["StatusText"]:
            details.append(f"status: {self['StatusText']}")
        return f"{state} ({', '.join(details)})" if details else state


def parse(output: str, names: Sequence[str], folder: str = OWN_FILES) -> dict[str, Seen]:
    """Read what `systemctl show` printed about names, in their order."""
    blocks = [block for block in output.strip().split("\n\n") if block.strip()]
    if len(blocks) != len(names):
        raise ValueError(f"systemctl show printed {len(blocks)} units where {len(names)} were asked for")
    seen = {}
    for name, block in zip(names, blocks, strict=True):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        linked = any(glob.glob(os.path.join(folder, f"*.{kind}", glob.escape(name))) for kind in ("wants", "requires"))
        seen[name] = Seen(properties, linked)
    return seen


def out_of_date(name: str, seen: Seen, folder: str = OWN_FILES) -> bool:
    """Whether systemd has to read its configuration again.

    The systemd of Debian 12 does not say so when a unit gets its first drop-in: it remembers which folders there were.
    """
    on_disk = {path for each in (name, template(name)) for path in glob.glob(f"{folder}{glob.escape(each)}.d/*.conf")}
    return seen["NeedDaemonReload"] == "yes" or not on_disk <= set(seen["DropInPaths"].split())


def touches(path: str, watched: Collection[str]) -> bool:
    """Whether path is a watched path, or lies below one."""
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in watched)


def newest(path: str) -> float:
    """Return the latest modification below path in seconds; a link counts as itself, what does not exist is old.

    A folder counts too, because a file may have been removed from it, except where Python has put its cache.
    """
    try:
        latest = os.lstat(path).st_mtime
    except OSError:
        return 0.0
    if os.path.islink(path) or not os.path.isdir(path):
        return latest
    latest = 0.0
    for folder, folders, files in os.walk(path):
        cached = "__pycache__" in folders
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in [*(() if cached else (".",)), *files]:
            try:
                latest = max(latest, os.lstat(os.path.join(folder, name)).st_mtime)
            except OSError:  # removed meanwhile: its folder is newer then
                continue
    return latest


def works_in(pid: str, link: str, proc: str = "/proc") -> bool:
    """Whether a process works in the folder that a link leads to now, or below it."""
    try:
        folder = os.readlink(f"{proc}/{pid}/cwd")
    except OSError:
        return False
    return os.path.islink(link) and touches(folder, [os.path.realpath(link)])


def is_stale(
    seen: Seen, watch: Collection[str], changed_paths: Collection[str], clock: float, check_mode: bool = False
) -> bool:
    """Whether something that the unit read at its start has changed since; clock is wall time minus monotonic time.

    A link that leads (back) to where the unit works already is no change: so after a release that was taken back, only
    what had got the new one is restarted. In check mode a changed link still leads to where it did.
    """
    everything = [*watch, *seen.own_files]
    watched = [path for path in everything if not works_in(seen["MainPID"], path)]
    if any(touches(path, everything if check_mode else watched) for path in changed_paths):
        return True
    return any(newest(path) > seen.started_at + clock for path in watched)


@dataclass(frozen=True)
class Steps:
    """What has to be done, each step for all of its units at once."""

    unmask: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__dataclass_fields__)


def plan(units: Sequence[Wanted], seen: Mapping[str, Seen], stale: Collection[str]) -> Steps:
    """Decide what has to be done."""
    steps: dict[str, list[str]] = {name: [] for name in Steps.__dataclass_fields__}
    for unit in units:
        found, name = seen[unit.name], unit.name
        enabled = unit.enabled and unit.state != "absent" and not unit.masked
        masked_now = found["LoadState"] == "masked"
        if masked_now and not unit.masked and unit.state != "absent":
            steps["unmask"].append(name)
        if unit.masked and not masked_now:
            steps["mask"].append(name)
        if enabled and found["UnitFileState"] not in ENABLED:
            steps["enable"].append(name)
        if not enabled and (found["UnitFileState"] not in DISABLED or (not found.known and found.linked)):
            steps["disable"].append(name)
        if unit.state == "started":
            if found.running:
                steps["restart"] += [name] if name in stale else []
            else:
                steps["reset"] += [name] if found["ActiveState"] == "failed" else []
                steps["restart" if found.looping else "start"].append(name)
        elif found["ActiveState"] not in ("inactive", "failed", ""):
            steps["stop"].append(name)
        elif found["ActiveState"] == "failed":
            steps["reset"].append(name)
    return Steps(**{name: tuple(names) for name, names in steps.items()})


def patience(found: Seen, before: Seen | None) -> float:
    """Seconds that a start may take by the unit's own time-outs; a restart stops what runs by the time-out from before.

    A unit's file may have been rewritten meanwhile with shorter limits, and what runs keeps those that it started with.
    """

    def span(seen: Seen, name: str) -> float:
        found = seconds(seen[name])
        return 600.0 if found is None else found

    stop = max(span(found, "TimeoutStopUSec"), span(before, "TimeoutStopUSec")) if before else 0.0
    return span(found, "TimeoutStartUSec") + stop


def batches(names: Sequence[str], size: int) -> list[list[str]]:
    """Cut into parts of this size."""
    return [list(names[at : at + size]) for at in range(0, len(names), size)]


def refusal(pattern: str) -> str | None:
    """Say why units must not be pruned by a pattern, if they must not."""
    advice = "write what the names of your units have in common, like celery-worker-*@*.service"
    if not pattern.strip():
        return f"prune is empty; {advice}, or leave it out."
    wrong = next((name for name in CORE if fnmatch.fnmatchcase(name, pattern)), None)
    return wrong and f"prune: {pattern} matches units of the system itself, such as {wrong}; {advice}."


def strays(pattern: str, loaded: Collection[str], declared: Collection[str], folder: str = OWN_FILES) -> list[str]:
    """Find the units that match the pattern and are loaded, or would start with the host, but are not declared."""
    links = (os.path.basename(path) for kind in ("wants", "requires") for path in glob.glob(f"{folder}*.{kind}/*"))
    found = {name for name in (*loaded, *links) if fnmatch.fnmatchcase(name, pattern) and "@." not in name}
    return sorted(found - set(declared))


def holds(name: str, text: str, folder: str = OWN_FILES) -> bool:
    """Say whether the file that a unit comes from holds the text; a unit without a file is nobody's."""
    try:
        with open(os.path.join(folder, template(name)), encoding="utf-8", errors="replace") as file:
            return text in file.read()
    except OSError:
        return True


def stray_templates(pattern: str, declared: Collection[str], folder: str = OWN_FILES) -> list[str]:
    """Find the files of templates that match the pattern's, and that no declared unit is an instance of."""
    kept = {template(name) for name in declared}
    files = {os.path.basename(path): path for path in glob.glob(f"{folder}*@.*") if not os.path.islink(path)}
    return sorted(
        path
        for name, path in files.items()
        if fnmatch.fnmatchcase(name, template(pattern)) and name not in kept and os.path.isfile(path)
    )


def slices(templates: Sequence[str]) -> list[str]:
    """Find the files of slices that are named like these templates: nothing else runs in them."""
    named = (path.replace("@.service", ".slice") for path in templates)
    return [path for path in named if path.endswith(".slice") and os.path.isfile(path)]
