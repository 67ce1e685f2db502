# SPDX-License-Identifier: GPL-3.0-or-later
"""The lowest supported ansible-core is one value, wherever it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
REQUIRES = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["requires_ansible"]
LOWEST = re.fullmatch(r">=(\d+\.\d+)\.0", REQUIRES)
ROLES = sorted((ROOT / "roles").glob("*/meta/main.yml"))


@pytest.fixture
def lowest() -> str:
    assert LOWEST, f"meta/runtime.yml: requires_ansible is {REQUIRES!r}, not '>=MAJOR.MINOR.0'"
    return LOWEST[1]


@pytest.mark.parametrize("meta", ROLES, ids=lambda meta: meta.parent.parent.name)
def test_every_role_says_so(meta: Path, lowest: str) -> None:
    assert yaml.safe_load(meta.read_text())["galaxy_info"]["min_ansible_version"] == lowest


def test_documentation_names_no_other(lowest: str) -> None:
    texts = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "roles").glob("*/README.md")]
    named = {
        (text.relative_to(ROOT).as_posix(), version)
        for text in texts
        for version in re.findall(r"ansible-core (\d+\.\d+) or newer", text.read_text())
    }
    assert ("README.md", lowest) in named
    assert {version for _, version in named} == {lowest}
