# SPDX-License-Identifier: GPL-3.0-or-later
"""A result is shown for what it is: of this state of the code, or of an older one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import tested
from tested import PARTS, Part, Result

RESULT = Result("passed", 3, 90, ("Debian 13",), "abc1234", "2026-01-01", "same")


def test_every_scenario_is_a_part_of_one_tier() -> None:
    scenarios = {path.parent.name for path in tested.ROOT.glob("molecule/*/molecule.yml")}
    assert sorted(scenarios) == sorted([*tested.names("change"), *tested.names("full")])


def test_every_directory_below_molecule_is_a_scenario() -> None:
    others = {path.name for path in tested.ROOT.glob("molecule/*") if not (path / "molecule.yml").exists()}
    assert others == {"shared"}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_path_of_a_part_is_there(part: Part) -> None:
    assert [path for path in part.paths if not (tested.ROOT / path).exists()] == []
    assert part.files()


def test_a_result_is_of_this_state_of_an_older_one_or_not_there() -> None:
    assert tested.state(PARTS[0], None, "same") == "not run"
    assert tested.state(PARTS[0], RESULT, "same") == "passed"
    assert tested.state(PARTS[0], replace(RESULT, result="failed"), "same") == "failed"
    assert tested.state(PARTS[0], RESULT, "other") == "passed, older"


def test_a_changed_file_makes_the_result_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, page, guide = (tmp_path / name for name in ("role.yml", "README.md", "guides/django.md"))
    monkeypatch.setattr(tested, "ROOT", tmp_path)
    monkeypatch.setattr(Part, "files", lambda _: [file, page, guide])
    guide.parent.mkdir()
    for path in (file, page, guide):
        path.write_text("before")
    before = PARTS[0].content()
    page.write_text("words are no proof")
    assert PARTS[0].content() == before
    file.write_text("after")
    after = PARTS[0].content()
    assert after != before
    guide.write_text("what is followed")
    assert PARTS[0].content() != after


def test_only_what_passed_in_this_state_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Part, "content", lambda _: "same")
    whole = {part.name: RESULT for part in PARTS}
    assert len(tested.missing(whole)) == 1
    assert "has passed" in tested.missing(whole)[0]
    whole["cluster"] = replace(RESULT, content="other")
    del whole["upgrade"]
    assert [line.split(":")[0] for line in tested.missing(whole)] == [
        "- `cluster` (passed, older)",
        "- `upgrade` (not run)",
    ]


def test_a_part_is_saved_with_what_its_hosts_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "RESULTS", tmp_path / "tested.json")
    monkeypatch.setattr(tested, "versions_file", lambda _: tmp_path / "versions.json")
    (tmp_path / "versions.json").write_text('["Debian 13", "RabbitMQ 4.0.5"]')
    tested.save("cluster", "passed", 240, 1200)
    tested.save("yamllint", "passed", 1, 1)
    saved = tested.results()
    assert list(saved) == ["cluster"]
    assert saved["cluster"].versions[:2] == ("Debian 13", "RabbitMQ 4.0.5")
    assert saved["cluster"].content == next(part for part in PARTS if part.name == "cluster").content()


@pytest.mark.parametrize(("result", "kept"), [("passed", "new"), ("failed", "old")])
def test_rows_are_kept_of_a_trial_that_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Literal["passed", "failed"], kept: str
) -> None:
    monkeypatch.setattr(tested, "RESULTS", tmp_path / "tested.json")
    monkeypatch.setattr(tested, "ROWS", tmp_path / "rows")
    monkeypatch.setattr(tested, "rows_file", lambda _: tmp_path / "new")
    (tmp_path / "new").write_text("new")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/reliability.jsonl").write_text("old")
    tested.save("reliability", result, 12, 600)
    assert (tmp_path / "rows/reliability.jsonl").read_text() == kept


def test_a_version_that_many_hosts_have_is_said_once() -> None:
    answers = ["Debian 13\nrabbitmq-server 4.0.5\nredis 8.0.2\n", "Debian 13\nCelery 5.7.0\n", ""]
    assert tested.said(answers) == ["Debian 13", "RabbitMQ 4.0.5", "Redis 8.0.2", "Celery 5.7.0"]
