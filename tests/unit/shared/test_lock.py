# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.celeryops.stack.plugins.action import lock

from .conftest import Run

ME = {"controller": "ops", "user": "me", "process": 1}
YOU = {"controller": "ops", "user": "you", "process": 2}


def test_one_has_it_until_it_gives_it_back(run_module: Run, tmp_path: Path) -> None:
    def take(who: dict[str, object], **more: object) -> dict[str, object]:
        return run_module("lock", path=str(tmp_path / "lock"), purpose="a release", _holder=dict(who), **more)

    assert take(ME, check=True)["changed"] is True
    assert not (tmp_path / "lock").exists()
    assert take(ME)["taken"] is False
    refused = take(YOU)
    assert refused["taken"] is True
    assert refused["holder"]["user"] == "me"  # type: ignore[index]
    assert take(YOU, check=True)["taken"] is True
    assert take(YOU, state="free")["taken"] is True
    assert take(ME, state="free")["taken"] is False
    assert take(ME)["taken"] is False, "the same run may ask again"
    assert take(YOU, state="absent")["changed"] is False, "nobody gives back what is another's"
    assert take(ME, state="absent")["changed"] is True
    looked = take(YOU, state="free")
    assert (looked["taken"], looked["changed"]) == (False, False)
    assert not (tmp_path / "lock").exists(), "who looks takes nothing"
    assert take(YOU)["taken"] is False


def test_it_is_taken_over_from_exactly_that_holder(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps(ME))
    arguments = {"path": str(path), "purpose": "a release", "_holder": YOU}
    assert run_module("lock", **arguments, _instead_of={**ME, "process": 7})["taken"] is True
    assert run_module("lock", **arguments, _instead_of=ME)["taken"] is False
    assert json.loads(path.read_text())["user"] == "you"


def test_a_half_written_lock_is_taken(run_module: Run, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("{")
    assert run_module("lock", path=str(tmp_path / "lock"), purpose="a release", _holder=ME)["taken"] is True


@pytest.mark.parametrize(
    ("change", "dead"),
    [({}, True), ({"controller": "elsewhere"}, False), ({"user": "another"}, False), ({"space": "another"}, False)],
)
def test_only_a_run_of_our_own_is_known_to_be_dead(change: dict[str, str], dead: bool) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    holder = {**lock.here(), "process": ended.pid}
    assert lock.is_dead({**holder, **change}) is dead
    assert lock.is_dead({**holder, "process": os.getpid()}) is False
