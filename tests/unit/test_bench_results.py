# SPDX-License-Identifier: GPL-3.0-or-later
"""bench/RESULTS.md: each section says of which commit its figures are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "bench/RESULTS.md").read_text()
SECTIONS = [part for part in re.split(r"^(?=# )", PAGE, flags=re.MULTILINE) if part.strip()]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_a_section_says_when_and_of_which_commit(section: str) -> None:
    assert re.search(r"20\d\d-\d\d-\d\d, commit [0-9a-f]{7,}\. ", section)
