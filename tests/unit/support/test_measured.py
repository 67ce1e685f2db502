# SPDX-License-Identifier: GPL-3.0-or-later
"""bench/RELIABILITY.md: what each section's parts measured when they last passed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import measured
import pytest
import tested
from measured import SECTIONS
from tested import Result
from trial.row import Row

RESULT = Result("passed", 3, 90, ("Debian 13",), "abc1234", "2026-01-01", "same", "2 x processor")


def test_the_page_shows_each_side_and_its_sum() -> None:
    rows = [
        ("deployed", Row("a", "fault a", 2, 1000, 1, 1000, consumers=8, lowest=7)),
        ("deployed", Row("b", "fault b", 1, 500, 0, 500, consumers=8, lowest=0, unknown=9.0)),
        ("control", Row("a", "fault a", 1, 900, 0, 893, 7)),
    ]
    text = measured.page(rows, "here", "# Title")
    deployed, control = text.split("## The control")
    assert "| fault a | 2 | 1,000 (1 refused) | 1,000 | 0 |" in deployed
    assert "| 0 of 8 (broker away) |" in deployed
    assert "| together | 3 | 1,500 | 1,500 | 0 |" in deployed
    assert "| fault a | 1 | 900 | 893 | **7** |" in control


def test_a_scenario_replaces_its_own_part_of_the_page() -> None:
    whole = measured.merged("# one broker\n", "cluster", "# three\n")
    assert whole == "# one broker\n\n<!-- scenario: cluster -->\n\n# three\n"
    assert measured.merged(whole, "cluster", "# three, again\n") == whole.replace("three", "three, again")
    assert measured.merged(whole, "reliability", "# one, again\n") == whole.replace("one broker", "one, again")


def test_every_part_of_a_section_is_a_part_of_the_tests() -> None:
    parts = {part.name for part in tested.PARTS}
    assert {name for section in SECTIONS.values() for name in section.parts} <= parts


def test_a_section_says_which_commit_each_part_measured() -> None:
    section = SECTIONS["reliability"]
    saved = dict.fromkeys(section.parts, RESULT)
    assert ", commit abc1234. 2 x processor, " in measured.circumstances(section, saved)
    saved["reliability-long"] = replace(RESULT, commit="def5678", date="2026-01-02")
    said = measured.circumstances(section, saved)
    assert said.startswith("2026-01-02, commits abc1234 (`reliability`) and def5678 (`reliability-long`). ")


def test_a_section_waits_for_all_of_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = SECTIONS["cluster"]
    monkeypatch.setattr(tested, "ROWS", tmp_path)
    monkeypatch.setattr(tested, "results", lambda: dict.fromkeys(section.parts, RESULT))
    before = "# one broker\n"
    for number, part in enumerate(section.parts):
        assert measured.whole(before) == before
        row = {"side": "deployed", **Row(part, f"fault {number}", accepted=10).as_dict()}
        (tmp_path / f"{part}.jsonl").write_text(json.dumps(row) + "\n")
    text = measured.whole(before)
    assert text.startswith(before)
    assert section.title in text
    assert "| fault 0 |" in text
    assert "| fault 1 |" in text
    assert "| together | 0 | 20 |" in text


def test_what_was_measured_keeps_its_commit_when_a_part_fails_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows stay those of the run that passed, so they are not those of the commit that failed."""
    section = SECTIONS["redis-faults"]
    monkeypatch.setattr(tested, "ROWS", tmp_path)
    row = {"side": "deployed", **Row("a", "fault a", accepted=10).as_dict()}
    (tmp_path / "redis-faults.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.setattr(tested, "results", lambda: dict.fromkeys(section.parts, RESULT))
    passed = measured.whole("# one broker\n")
    failed = replace(RESULT, result="failed", commit="def5678")
    monkeypatch.setattr(tested, "results", lambda: dict.fromkeys(section.parts, failed))
    assert "commit abc1234" in passed
    assert measured.whole(passed) == passed
