# SPDX-License-Identifier: GPL-3.0-or-later
"""The units module, with a systemctl that only keeps books."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import systemd
from ansible_collections.celeryops.stack.plugins.module_utils.systemd import Seen, Wanted

from .conftest import Run

SYSTEMCTL = """#!{python}
import fnmatch, json, os, sys, time
state = os.environ["FAKE_SYSTEMD"]
units = json.load(open(state))
arguments = [each for each in sys.argv[1:] if not each.startswith("--")]
verb, names = arguments[0], arguments[1:]
with open(state + ".log", "a") as log:
    log.write(" ".join(arguments if verb != "show" else ["show"]) + "\\n")
failed = False
if verb == "show":
    properties, names = names[0].split(","), names[1:]
    if "*" in names[0]:
        names = [name for name, unit in units.items() if fnmatch.fnmatch(name, names[0]) and "asleep" not in unit]
    for name in names:
        unit = units.get(name, dict(LoadState="not-found", ActiveState="inactive", SubState="dead"))
        unit = dict(unit, Id=name)
        print("\\n".join(f"{{each}}={{unit.get(each, '')}}" for each in properties) + "\\n")
for unit in units.values() if verb == "daemon-reload" else []:
    unit["NeedDaemonReload"] = "no"
for unit in [units[name] for name in names] if verb != "show" else []:
    if verb in ("start", "restart"):
        broken = unit.get("broken")
        failed = failed or bool(broken)
        unit["ActiveState"], unit["SubState"] = ("activating", "auto-restart") if broken else ("active", "running")
        unit["Result"] = "exit-code" if broken else "success"
        unit["ExecMainStartTimestampMonotonic"] = str(int(time.monotonic() * 1e6))
    if verb in ("stop", "reset-failed"):
        unit["ActiveState"], unit["SubState"] = "inactive", "dead"
    if verb in ("enable", "disable"):
        unit["UnitFileState"] = verb + "d"
    if verb in ("mask", "unmask"):
        unit["LoadState"] = "masked" if verb == "mask" else "loaded"
        unit["UnitFileState"] = "masked" if verb == "mask" else "disabled"
json.dump(units, open(state, "w"))
sys.exit(failed)
"""


class Host:
    """A host whose systemd is a file."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.state = run, folder / "systemd.json"
        self.set({})

    def set(self, units: Mapping[str, Mapping[str, str]]) -> None:
        base = {"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": "disabled"}
        self.state.write_text(json.dumps({name: {**base, "Type": "notify", **unit} for name, unit in units.items()}))

    def __call__(self, *units: dict[str, Any], **options: Any) -> dict[str, Any]:
        self.log.write_text("")
        return self.run("units", units=list(units), **options)

    @property
    def log(self) -> Path:
        return self.state.with_name("systemd.json.log")

    @property
    def calls(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line != "show"]


@pytest.fixture
def host(run_module: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, code in (
        ("systemctl", SYSTEMCTL.format(python=sys.executable)),
        ("journalctl", "#!/bin/sh\necho boom\n"),
    ):
        (programs / name).write_text(code)
        (programs / name).chmod(0o755)
    host = Host(run_module, tmp_path)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SYSTEMD", str(host.state))
    return host


def test_starts_and_enables_together_then_does_nothing(host: Host) -> None:
    host.set({"a@1.service": {}, "b.service": {}})
    units = ({"name": "a@1"}, {"name": "b.service"})
    result = host(*units)
    assert host.calls == ["enable a@1.service b.service", "start a@1.service b.service"]
    assert result["started"] == result["enabled"] == ["a@1.service", "b.service"]
    assert host(*units)["changed"] is False
    assert host.calls == []


def test_restarts_exactly_what_watches_a_newer_file(host: Host, tmp_path: Path) -> None:
    watched = tmp_path / "conf" / "a.conf"
    watched.parent.mkdir()
    watched.write_text("")
    host.set({"a.service": {}, "b.service": {}})
    units = ({"name": "a", "watch": [str(watched.parent)]}, {"name": "b", "watch": [str(tmp_path / "never")]})
    host(*units)
    assert host(*units)["changed"] is False
    later = time.time() + 5
    os.utime(watched, (later, later))
    assert host(*units, check=True)["restarted"] == ["a.service"]
    assert host.calls == []
    assert host(*units)["restarted"] == ["a.service"]
    assert host.calls == ["restart a.service"]


def test_leaves_what_is_stale_to_those_who_restart_it_in_another_way(host: Host) -> None:
    host.set({"a.service": {"ActiveState": "active", "UnitFileState": "enabled"}, "b.service": {}})
    units = [{"name": "a", "watch": ["/etc/a.conf"]}, {"name": "b", "watch": ["/etc/a.conf"]}]
    result = host(*units, restart=False, changed_paths=["/etc/a.conf"])
    assert (result["stale"], result["restarted"], result["started"]) == (["a.service"], [], ["b.service"])
    assert host(*units, changed_paths=["/etc/a.conf"])["stale"] == []


def test_restarts_what_watches_a_changed_path(host: Host) -> None:
    host.set({"a.service": {}, "b.service": {}})
    units = ({"name": "a", "watch": ["/nowhere/conf"]}, {"name": "b", "watch": ["/nowhere/con"]})
    host(*units)
    assert host(*units, changed_paths=["/nowhere/conf/x"])["restarted"] == ["a.service"]


def test_its_own_unit_file_is_watched(host: Host) -> None:
    own = "/etc/systemd/system/a@.service"
    running = {"ActiveState": "active", "UnitFileState": "enabled", "ActiveEnterTimestampMonotonic": "1"}
    host.set({"a@1.service": {**running, "FragmentPath": own}})
    assert host({"name": "a@1"}, changed_paths=[own])["restarted"] == ["a@1.service"]


def test_reloads_only_when_systemd_says_so(host: Host) -> None:
    host.set({"a.service": {"NeedDaemonReload": "yes"}})
    result = host({"name": "a"})
    assert result["reloaded"]
    assert host.calls[0] == "daemon-reload"
    assert not host({"name": "a"})["reloaded"]


def test_a_unit_that_does_not_exist(host: Host) -> None:
    assert host({"name": "a"}, check=True)["started"] == ["a.service"]
    assert "there is no unit a.service on this host" in host({"name": "a"})["msg"]
    assert host({"name": "a", "state": "absent"})["changed"] is False


def test_a_unit_that_crashes_is_reported_with_its_journal(host: Host) -> None:
    host.set({"a.service": {"broken": "yes"}, "b.service": {}})
    result = host({"name": "a"}, {"name": "b"})
    assert result["failed_units"] == ["a.service"]
    assert result["msg"] == "a.service did not come up: it crashes again and again (result: exit-code)"
    assert result["output"] == "The last journal lines of a.service:\nboom"
    assert host({"name": "a"})["failed"]
    assert host.calls == ["restart a.service"]


def test_a_unit_without_readiness_must_stay_up_for_a_moment(host: Host) -> None:
    host.set({"a.service": {"Type": "simple"}})
    began = time.monotonic()
    host({"name": "a"})
    assert time.monotonic() - began >= 1


def test_stops_disables_and_masks(host: Host) -> None:
    running = {"ActiveState": "active", "UnitFileState": "enabled"}
    host.set({"a.service": running, "b.service": running, "c.service": {"ActiveState": "failed"}})
    units = ({"name": "a", "state": "absent"}, {"name": "b", "state": "stopped", "masked": True})
    result = host(*units, {"name": "c", "state": "stopped"})
    assert result["stopped"] == result["disabled"] == ["a.service", "b.service"]
    assert host.calls == [
        "stop a.service b.service",
        "disable a.service b.service",
        "mask b.service",
        "reset-failed c.service",
    ]
    assert host(*units)["changed"] is False
    assert host({"name": "b"})["started"] == ["b.service"]
    assert host.calls == ["unmask b.service", "enable b.service", "start b.service"]


def test_contradictions_are_one_sentence(host: Host) -> None:
    host.set({"a.service": {"UnitFileState": "static"}})
    assert "has no [Install] section" in host({"name": "a"})["msg"]
    assert "listed twice" in host({"name": "a"}, {"name": "a.service"})["msg"]
    assert "both masked and started" in host({"name": "a", "masked": True})["msg"]


@pytest.mark.parametrize(
    ("span", "expected"),
    [("1min 30s", 90), ("500ms", 0.5), ("1h 2min", 3720), ("15min 30s", 930), ("infinity", None), ("", None)],
)
def test_time_spans(span: str, expected: float | None) -> None:
    assert systemd.seconds(span) == expected


@pytest.mark.parametrize(("name", "full"), [("a", "a.service"), ("a@1.service", "a@1.service"), ("t.timer", "t.timer")])
def test_names(name: str, full: str) -> None:
    assert systemd.full_name(name) == full


def test_a_target_starts_when_it_becomes_active() -> None:
    seen = Seen({"ActiveEnterTimestampMonotonic": "5000000", "ExecMainStartTimestampMonotonic": ""})
    assert seen.started_at == 5
    assert (
        Seen({"ActiveEnterTimestampMonotonic": "5000000", "ExecMainStartTimestampMonotonic": "4000000"}).started_at == 4
    )


def test_newest_counts_links_themselves_and_no_caches(tmp_path: Path) -> None:
    def touch(path: Path, when: float, follow: bool = True) -> None:
        os.utime(path, (when, when), follow_symlinks=follow)

    (tmp_path / "d" / "__pycache__").mkdir(parents=True)
    for name, when in (("d/a.py", 100), ("d/__pycache__/a.pyc", 900), ("far", 999)):
        (tmp_path / name).write_text("")
        touch(tmp_path / name, when)
    assert systemd.newest(str(tmp_path / "d")) == 100
    (tmp_path / "link").symlink_to("far")
    touch(tmp_path / "link", 50, follow=False)
    assert systemd.newest(str(tmp_path / "link")) == 50
    assert systemd.newest(str(tmp_path / "never")) == 0
    (tmp_path / "conf").mkdir()
    touch(tmp_path / "conf", 70)
    assert systemd.newest(str(tmp_path / "conf")) == 70


def test_an_enabling_link_without_a_unit_is_removed() -> None:
    gone = Seen({"LoadState": "not-found", "ActiveState": "inactive"}, linked=True)
    steps = systemd.plan([Wanted("a.service", "absent")], {"a.service": gone}, ())
    assert steps == systemd.Steps(disable=("a.service",))


RUNNING = {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"}
OURS = "w-*@*.service"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what stands for /etc/systemd/system."""
    folder = tmp_path / "system"
    (folder / "w.target.wants").mkdir(parents=True)
    monkeypatch.setattr("ansible_collections.celeryops.stack.plugins.modules.units.OWN_FILES", f"{folder}/")
    return folder


def test_prunes_what_nobody_declares_once_the_declared_run(host: Host, folder: Path) -> None:
    for name in ("w-a@.service", "w-b@.service", "other@.service", "w-a.slice", "w-b.slice", "other.slice"):
        (folder / name).write_text("")
    failed = {"ActiveState": "failed", "UnitFileState": "disabled"}
    looping = {"ActiveState": "activating", "SubState": "auto-restart", "UnitFileState": "enabled"}
    host.set(
        {
            "w-a@1.service": {},
            "w-a@2.service": RUNNING,
            "w-b@1.service": looping,
            "w-b@2.service": failed,
            "other@1.service": RUNNING,
            "w-c.service": RUNNING,
            "w-b.slice": RUNNING,
        }
    )
    pruned = ["w-a@2.service", "w-b@1.service", "w-b@2.service", "w-b@.service", "w-b.slice"]
    foreseen = host({"name": "w-a@1"}, prune=OURS, check=True, diff=True)
    assert (foreseen["changed"], foreseen["pruned"]) == (True, pruned)
    assert "stop w-a@2.service\n" in foreseen["diff"]["after"]
    assert f"remove {folder}/w-b@.service\n" in foreseen["diff"]["after"]
    assert host.calls == []
    result = host({"name": "w-a@1"}, prune=OURS)
    assert (result["changed"], result["pruned"], result["reloaded"]) == (True, pruned, True)
    assert host.calls == [
        "enable w-a@1.service",
        "start w-a@1.service",
        "stop w-a@2.service w-b@1.service",
        "disable w-a@2.service w-b@1.service",
        "reset-failed w-a@2.service w-b@1.service w-b@2.service",
        "stop w-b.slice",
        "daemon-reload",
    ]
    assert sorted(path.name for path in folder.glob("*@.service")) == ["other@.service", "w-a@.service"]
    assert sorted(path.name for path in folder.glob("*.slice")) == ["other.slice", "w-a.slice"]
    again = host({"name": "w-a@1"}, prune=OURS)
    assert (again["changed"], again["pruned"]) == (False, [])
    assert host.calls == []


def test_leaves_out_what_is_not_there_when_told_so(host: Host) -> None:
    host.set({"w-a@1.service": RUNNING})
    assert "w-new@1" in host({"name": "w-a@1"}, {"name": "w-new@1"})["msg"]
    result = host({"name": "w-a@1"}, {"name": "w-new@1", "hold": ["/"]}, skip_missing=True)
    assert (result["started"], result["held"]) == ([], [])


def test_prunes_only_what_holds_the_marker(host: Host, folder: Path) -> None:
    (folder / "w-b@.service").write_text("Environment=OURS=1\n")
    (folder / "w-c@.service").write_text("Environment=THEIRS=1\n")
    host.set({"w-a@1.service": RUNNING, "w-b@1.service": RUNNING, "w-c@1.service": RUNNING})
    result = host({"name": "w-a@1"}, prune=OURS, prune_marker="OURS=1")
    assert result["pruned"] == ["w-b@1.service", "w-b@.service"]
    assert [path.name for path in folder.glob("*@.service")] == ["w-c@.service"]


def test_prunes_what_would_start_with_the_host(host: Host, folder: Path) -> None:
    host.set({"w-a@1.service": RUNNING, "w-a@2.service": {"UnitFileState": "enabled", "asleep": "yes"}})
    for name in ("w-a@1.service", "w-a@2.service"):
        (folder / "w.target.wants" / name).symlink_to(folder / "w-a@.service")
    assert host({"name": "w-a@1"}, prune=OURS)["pruned"] == ["w-a@2.service"]
    assert host.calls == ["disable w-a@2.service"]


def test_prunes_nothing_when_the_declared_do_not_come_up_or_nobody_asked(host: Host, folder: Path) -> None:
    (folder / "w-b@.service").write_text("")
    host.set({"w-a@1.service": {"broken": "yes"}, "w-b@1.service": RUNNING})
    assert host({"name": "w-a@1"}, prune=OURS)["failed"]
    assert host.calls == ["enable w-a@1.service", "start w-a@1.service"]
    assert host(prune=None)["pruned"] == []
    assert (folder / "w-b@.service").exists()


def test_a_declared_unit_keeps_its_template_in_any_state(host: Host, folder: Path) -> None:
    (folder / "w-a@.service").write_text("")
    (folder / "w-m@.service").symlink_to("/dev/null")
    host.set({"w-a@1.service": {}})
    assert host({"name": "w-a@1", "state": "absent"}, prune=OURS)["pruned"] == []
    assert (folder / "w-m@.service").is_symlink()


@pytest.mark.parametrize("pattern", ["*", "*.service", "**", "?*", "*.serv*", "[!x]*", "*@*.service", "*.timer", "*s*"])
def test_a_pattern_must_not_match_the_system(host: Host, pattern: str) -> None:
    assert host(prune=pattern)["msg"].startswith(f"prune: {pattern} matches units of the system itself, such as ")
    assert host.calls == []


def test_an_empty_pattern_is_one_sentence(host: Host) -> None:
    assert host(prune=" ")["msg"].startswith("prune is empty; write ")


@pytest.mark.parametrize(
    ("name", "template"),
    [("w@1.service", "w@.service"), ("w@1.5.service", "w@.service"), ("w-*@*.service", "w-*@.service"), ("w.x", "w.x")],
)
def test_templates(name: str, template: str) -> None:
    assert systemd.template(name) == template


TWINNED = {"name": "a@1", "twin": "a@1-next", "watch": ["/nowhere/current"]}
BESIDE = {"name": "a@2", "twin": "a@2-next", "watch": ["/nowhere/current"]}
UP = {"ActiveState": "active", "UnitFileState": "enabled", "ActiveEnterTimestampMonotonic": "1"}


def test_a_twin_takes_the_place_of_a_unit_that_restarts(host: Host) -> None:
    host.set({"a@1.service": UP, "a@2.service": UP, "a@1-next.service": {}, "a@2-next.service": {}})
    result = host(TWINNED, BESIDE, surge=1, changed_paths=["/nowhere/current"])
    assert result["restarted"] == ["a@1.service", "a@2.service"]
    assert host.calls == [
        "restart a@1-next.service", "restart a@1.service", "stop a@1-next.service",
        "restart a@2-next.service", "restart a@2.service", "stop a@2-next.service",
        "stop a@1-next.service a@2-next.service",
    ]  # fmt: skip


def test_without_surge_units_restart_in_place(host: Host) -> None:
    host.set({"a@1.service": UP})
    host(TWINNED, changed_paths=["/nowhere/current"])
    assert host.calls == ["restart a@1.service"]


def test_a_twin_that_does_not_come_up_leaves_the_unit_as_it_was(host: Host) -> None:
    host.set({"a@1.service": UP, "a@2.service": UP, "a@1-next.service": {"broken": "yes"}, "a@2-next.service": {}})
    result = host(TWINNED, BESIDE, surge=2, changed_paths=["/nowhere/current"])
    assert result["failed"]
    assert "a@1-next.service did not come up" in result["msg"]
    assert "boom" in result["output"]
    assert result["msg"].endswith("a@1.service, a@2.service were left as before.")
    assert "restart a@1.service a@2.service" not in host.calls
    assert "stop a@1-next.service a@2-next.service" in host.calls


def test_a_unit_that_crashes_again_and_again_needs_no_twin(host: Host) -> None:
    looping = {"ActiveState": "activating", "SubState": "auto-restart", "UnitFileState": "enabled"}
    host.set({"a@1.service": looping, "a@1-next.service": {}})
    host(TWINNED, surge=2)
    assert host.calls == ["restart a@1.service"]


def test_a_held_unit_is_stopped_and_stays_so(host: Host, tmp_path: Path) -> None:
    host.set({"a@1.service": UP})
    unit = {"name": "a@1", "hold": [str(tmp_path / "drained")]}
    assert host(unit)["held"] == []
    (tmp_path / "drained").write_text("")
    result = host(unit)
    assert result["stopped"] == result["held"] == ["a@1.service"]
    assert host.calls == ["stop a@1.service"]
    assert host(unit)["changed"] is False
    (tmp_path / "drained").unlink()
    assert host(unit)["started"] == ["a@1.service"]


def test_a_link_back_to_where_the_unit_works_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("old", "new"):
        (tmp_path / name / "src").mkdir(parents=True)
    link = tmp_path / "current"
    monkeypatch.chdir(tmp_path / "old" / "src")
    seen = Seen({"MainPID": str(os.getpid()), "ExecMainStartTimestampMonotonic": "1"})

    def stale(*changed: str, check_mode: bool = False) -> bool:
        return systemd.is_stale(seen, [str(link)], changed, 0.0, check_mode)

    link.symlink_to("old")
    assert not stale()
    assert not stale(str(link))
    assert stale(str(link), check_mode=True)
    link.unlink()
    link.symlink_to("new")
    assert stale()


def test_a_restart_waits_as_long_as_the_file_from_before_allows() -> None:
    now = Seen({"TimeoutStartUSec": "10s", "TimeoutStopUSec": "1min"})
    before = Seen({"TimeoutStartUSec": "10s", "TimeoutStopUSec": "15min"})
    assert systemd.patience(now, before) == 910
    assert systemd.patience(now, None) == 10
