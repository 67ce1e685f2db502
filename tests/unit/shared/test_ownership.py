# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is one deployment's, and nothing of it is changed for another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import ownership
from ansible_collections.celeryops.stack.plugins.module_utils.trees import pack

from .conftest import Run

ME = {"owner": os.getuid(), "group": os.getgid()}


def test_the_mark_of_a_host(tmp_path: Path) -> None:
    mark, settings = tmp_path / "mark", tmp_path / "settings.json"
    assert ownership.found(str(mark), str(settings)) == {}
    settings.write_text(json.dumps({"app": "blog:app", "settings": {}}))
    assert ownership.found(str(mark), str(settings)) == {"deployment": "blog:app"}, "from before there was a mark"
    mark.write_text(json.dumps({"deployment": "blog", "host": "web1", "inventory": "blog"}))
    assert ownership.found(str(mark), str(settings))["deployment"] == "blog"
    mark.write_text("[]")
    assert ownership.found(str(mark), str(tmp_path)) == {}


@pytest.mark.parametrize("names", [["blog"], ["weblog", "blog"]])
def test_its_own_deployment_may_have_it(names: list[str]) -> None:
    assert ownership.problem({"deployment": "blog"}, names) is None


@pytest.mark.parametrize("names", [["blog"], ["", ""], []])
def test_what_is_nobodys_anybody_may_have(names: list[str]) -> None:
    assert ownership.problem({}, names) is None
    assert ownership.problem({"deployment": ""}, names) is None


@pytest.mark.parametrize("names", [["", ""], []])
def test_one_without_a_name_may_not_have_anothers(names: list[str]) -> None:
    """Such as a role that is used alone: it would take the place, and wipe out the mark."""
    said = ownership.problem({"deployment": "blog", "host": "web1", "inventory": "mine"}, names)
    assert said
    assert "this one has no name" in said
    assert "write 'celery_deployment: blog'" in said


def test_another_may_not() -> None:
    said = ownership.problem({"deployment": "blog", "host": "web1", "inventory": "mine"}, ["shop:app", ""])
    assert said
    assert "'blog' (there called 'web1', in the inventory 'mine')" in said
    assert "write 'celery_replaces: blog'" in said


@pytest.mark.parametrize("check", [False, True])
def test_no_file_is_changed_for_another(run_module: Run, tmp_path: Path, check: bool) -> None:
    mark, unit = tmp_path / "mark.json", tmp_path / "unit"
    mark.write_text(json.dumps({"deployment": "blog"}))
    unit.write_text("blog's")
    content = b'{"deployment": "shop"}'
    contents = pack({str(mark): content})
    first = {"path": str(unit), "state": "absent", **ME}

    def write(claim: list[str]) -> dict[str, object]:
        entries = [first, {"path": str(mark), "claim": claim, **ME}]
        return run_module("files", files=entries, _contents=contents, check=check)

    refused = write(["shop"])

    assert refused["failed"]
    assert "The host is that of the deployment 'blog'" in str(refused["msg"])
    assert unit.read_text() == "blog's"
    assert write(["shop", "blog"])["changed_paths"] == [str(unit), str(mark)]
    assert unit.exists() is check
    assert (mark.read_bytes() == content) is not check
