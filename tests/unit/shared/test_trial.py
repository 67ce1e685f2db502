# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is tried with what its processes are about to get, and what must be done once is done once."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.celeryops.stack.plugins.module_utils import trial as trying
from ansible_collections.celeryops.stack.plugins.module_utils.releases import commands_of
from ansible_collections.celeryops.stack.plugins.module_utils.trial import trial
from ansible_collections.celeryops.stack.plugins.modules.release import set_link

from .conftest import Run
from .test_audit import PLAN, PROGRAM, SHOP

RUNTIME = Path(__file__).parents[3] / "roles/runtime/files"
OLD, NEW = {"task_always_eager": False}, {"task_always_eager": True}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release, what the host has for it, and a celery-run."""
    for folder in ("etc/credentials", "run", "release/src", "next"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(trying, "PLACE", str(tmp_path / "run"))
    (tmp_path / "etc/settings.json").write_text(json.dumps({"settings": OLD}))
    (tmp_path / "etc/credentials/celery.json").write_text('{"broker_url": "amqp://old"}')
    (tmp_path / "etc/credentials/sentry.json").write_text('{"dsn": "kept"}')
    (tmp_path / "release/src/shop.py").write_text(SHOP.format(eager=False))
    launcher = tmp_path / "celery-run"
    launcher.write_text(
        f"""#!/bin/sh
cd "$CELERY_RELEASE/src"
etc=${{CELERY_ETC:-{tmp_path}/etc}}
export CELERYOPS_SETTINGS="$etc/settings.json" CELERY_LOADER=celeryops_runtime.loader:Loader PYTHONPATH={RUNTIME}
[ "$1" != python ] || {{ shift; exec {sys.executable} "$@"; }}
exec "$@"
"""
    )
    launcher.chmod(0o755)
    return tmp_path


def following(host: Path, **more: Any) -> str:
    given = {"settings": {"settings": NEW}, "credentials": {"broker_url": "amqp://new"}, "runtime": str(host / "next")}
    return json.dumps({**given, "etc": str(host / "etc"), **more})


def test_what_is_tried_is_readable_for_who_must_and_gone_afterwards(host: Path) -> None:
    with trial(following(host)) as environment:
        etc = Path(environment["CELERY_ETC"])
        assert environment["CELERY_RUNTIME"] == str(host / "next")
        assert json.loads((etc / "settings.json").read_text()) == {"settings": NEW}
        assert json.loads((etc / "credentials/celery.json").read_text()) == {"broker_url": "amqp://new"}
        assert json.loads((etc / "credentials/sentry.json").read_text()) == {"dsn": "kept"}
        modes = {path: stat.S_IMODE((etc / path).stat().st_mode) for path in (".", "credentials", "settings.json")}
        assert modes == {".": 0o711, "credentials": 0o700, "settings.json": 0o644}
        assert stat.S_IMODE((etc / "credentials/celery.json").stat().st_mode) == 0o600
    assert not etc.exists()
    with trial(following(host, runtime=str(host / "nowhere"))) as environment:
        assert "CELERY_RUNTIME" not in environment, "in a dry run it may not be there"
    with trial("") as environment:
        assert environment == {}


@pytest.mark.parametrize("check", [False, True])
def test_the_audit_looks_at_the_settings_that_are_about_to_be_written(host: Path, run_module: Run, check: bool) -> None:
    """Also in a dry run, which writes none."""
    given = {"app": "shop:app", "release": str(host / "release"), "plan": PLAN, "broker": False}
    given |= {"program": str(PROGRAM), "launcher": str(host / "celery-run")}

    assert not run_module("audit", **given, check=check).get("failed")
    refused = run_module("audit", **given, next=following(host), check=check)

    assert "task_always_eager is on" in refused["msg"]
    assert json.loads((host / "etc/settings.json").read_text()) == {"settings": OLD}


def test_nothing_that_a_process_reads_is_written_before_a_release_is_tried() -> None:
    roles = RUNTIME.parents[1]
    tasks = [task.get("ansible.builtin.import_tasks") or "" for task in _tasks(roles / "app/tasks/main.yml")]
    places = [task.get("ansible.builtin.include_role", {}) for task in _tasks(roles / "app/tasks/main.yml")]
    converge = next(number for number, role in enumerate(places) if role.get("tasks_from") == "converge")
    assert tasks.index("install.yml") < tasks.index("prepare.yml") < converge < tasks.index("activate.yml")
    written = [entry["path"] for entry in _files(roles / "runtime/tasks/stage.yml")]
    read = {entry["path"] for entry in _files(roles / "runtime/tasks/configure.yml")}
    assert {"{{ celery_etc }}/settings.json", "{{ celery_etc }}/credentials/celery.json"} <= read
    assert not [path for path in written if path in read]


def _tasks(path: Path) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tasks


def _files(path: Path) -> list[dict[str, Any]]:
    lists = [task.get("celeryops.stack.files", {}).get("files", []) for task in _tasks(path)]
    return [entry for entries in lists for entry in entries if isinstance(entry, dict)]


class TestOnce:
    @pytest.fixture
    def once(self, host: Path, run_module: Run) -> Run:
        given = {"release": str(host / "release"), "launcher": str(host / "celery-run")}
        return lambda *commands, **more: run_module("once", commands=list(commands), **{**given, **more})

    def test_each_command_once_in_a_release(self, host: Path, once: Run) -> None:
        first, second = ["sh", "-c", "echo one; pwd"], ["sh", "-c", "echo two >&2"]

        ran = once(first, second)
        assert ran["changed"]
        assert ran["lines"] == [
            "$ sh -c 'echo one; pwd'",
            "one",
            str(host / "release/src"),
            "$ sh -c 'echo two >&2'",
            "two",
        ]
        again = once(first, second)
        assert (again["changed"], again["lines"]) == (False, [])
        assert once(second, ["echo", "later"])["lines"] == ["$ echo later", "later"], "one that is added runs"
        assert once(first, again=True)["lines"][1] == "one"
        assert not once(first, second)["changed"]
        (host / "release/once.json").unlink()
        assert once(*first)["lines"][0] == "$ sh -c 'echo one; pwd'", "in another release again; one may stand alone"

    def test_one_that_fails_is_named_and_ends_it(self, once: Run) -> None:
        good, bad, last = ["echo", "good"], ["sh", "-c", "echo the database is locked; exit 3"], ["echo", "last"]

        failed = once(good, bad, last)

        assert failed["msg"] == f"sh -c '{bad[2]}' ended with exit code 3: the database is locked"
        assert "output" not in failed, "it is all said"
        long = once(["sh", "-c", "echo Traceback; echo OperationalError: no table; exit 1"])
        assert long["msg"].endswith("ended with exit code 1: OperationalError: no table")
        assert long["output"] == "Traceback\nOperationalError: no table"
        assert once(good, last)["lines"] == ["$ echo last", "last"]

    def test_a_dry_run_only_says_what_it_would_run(self, host: Path, once: Run) -> None:
        dry = once(["touch", "made"], check=True)
        assert (dry["changed"], dry["lines"]) == (True, ["$ touch made"])
        assert not (host / "release/src/made").exists()
        assert once(["touch", "made"], release=str(host / "not-built"), check=True)["changed"]

    def test_it_runs_with_what_is_about_to_be_written(self, host: Path, once: Run) -> None:
        ran = once(["sh", "-c", "cat $CELERY_ETC/credentials/celery.json"], next=following(host))
        assert ran["lines"][1] == '{"broker_url": "amqp://new"}'


class TestOnceAfterASwitch:
    """With the link instead of a release: commands of the host, once after each time that the link is made."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        for name in ("a", "b"):
            (tmp_path / "releases" / name).mkdir(parents=True)
        set_link(str(tmp_path / "current"), "releases/a")
        return tmp_path

    @pytest.fixture
    def once(self, home: Path, run_module: Run) -> Run:
        return lambda *commands, **more: run_module("once", commands=list(commands), link=str(home / "current"), **more)

    def test_once_after_each_switch(self, home: Path, once: Run) -> None:
        assert once(["echo", "restarted"])["lines"] == ["$ echo restarted", "restarted"]
        assert not once(["echo", "restarted"])["changed"]
        assert once(["echo", "restarted"], ["echo", "new"])["lines"] == ["$ echo new", "new"]
        set_link(str(home / "current"), "releases/b")
        assert once(["echo", "restarted"], check=True)["changed"]
        assert once(["echo", "restarted"])["changed"]
        set_link(str(home / "current"), "releases/a")
        assert once(["echo", "restarted"])["changed"], "also when it goes back"
        set_link(str(home / "current"), "releases/a")
        assert once(["echo", "restarted"])["changed"], "a release that was built anew has a new link"

    def test_what_failed_is_done_by_the_next_run(self, home: Path, once: Run) -> None:
        flag = home / "flag"
        assert once(["true"], ["test", "-e", str(flag)])["failed"]
        flag.touch()
        assert once(["true"], ["test", "-e", str(flag)])["lines"] == [f"$ test -e {flag}"]

    def test_they_are_commands_of_the_host(self, once: Run) -> None:
        assert once(["no-such-program"])["msg"] == "no-such-program cannot be run: No such file or directory."

    def test_a_dry_run_where_nothing_is_released_yet(self, tmp_path: Path, once: Run) -> None:
        (tmp_path / "current").unlink()
        assert once(["true"], check=True)["changed"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ([], []),
        (["python", "manage.py", "migrate"], [["python", "manage.py", "migrate"]]),
        ([["a", 1], ["b"]], [["a", "1"], ["b"]]),
    ],
)
def test_commands(given: list[Any], meant: list[list[str]]) -> None:
    assert commands_of(given) == meant
