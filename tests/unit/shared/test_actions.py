# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the action plugins that need no play."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.celeryops.stack.plugins.action import files, venv
from ansible_collections.celeryops.stack.plugins.plugin_utils import deployment


def test_preflight_returns_the_rules_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = ModuleType("rules")
    rules.problems = lambda values: [f"{name} is wrong." for name in values]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"{deployment.RULES}.some", rules)
    assert deployment.check("some", {"a": 1, "b": 2}) == ["a is wrong.", "b is wrong."]
    assert deployment.check("some", {}) == []


@pytest.mark.parametrize(
    ("role", "values", "sentence"),
    [
        ("never_written", {}, "has no rules"),
        ("../x", {}, "is not the name of a role"),
        (None, {}, "is not the name of a role"),
        ("some", [], "must be a mapping"),
    ],
)
def test_preflight_says_what_is_wrong_with_its_arguments(role: object, values: object, sentence: str) -> None:
    [said] = deployment.check(role, values)
    assert sentence in said


@pytest.mark.parametrize(
    ("entry", "source"),
    [
        ({"path": "/a", "content": ""}, "content"),
        ({"path": "/a", "template": "a.j2"}, "template"),
        ({"path": "/a", "state": "directory"}, None),
        ({"path": "/a", "state": "absent"}, None),
    ],
)
def test_the_source_of_an_entry(entry: dict[str, Any], source: str | None) -> None:
    assert files.source_of(entry) == source


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"path": "a", "content": ""}, "is not an absolute path"),
        ({"content": ""}, "is not an absolute path"),
        ({"path": "/a"}, "needs exactly one of"),
        ({"path": "/a", "content": "", "src": "b"}, "needs exactly one of"),
        ({"path": "/a", "content": "", "state": "absent"}, "takes no content"),
    ],
)
def test_an_entry_without_a_clear_source(entry: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AnsibleActionFail, match=sentence):
        files.source_of(entry)


def test_an_environment_must_be_a_mapping() -> None:
    assert "secret" not in venv.hide({"A": "secret"})
    with pytest.raises(AnsibleActionFail, match="must be a mapping"):
        venv.hide(["A"])
