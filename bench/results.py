# SPDX-License-Identifier: GPL-3.0-or-later
"""bench/RESULTS.md, of which each script writes the section that begins with its heading."""

import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests/support"))

from machine import this_machine

PAGE = Path(__file__).resolve().parent / "RESULTS.md"


def with_section(page: str, section: str) -> str:
    """The page with this section, which begins with a heading of the first level, in the place of its last version."""
    heading = section.partition("\n")[0]
    sections = [part for part in re.split(r"^(?=# )", page, flags=re.MULTILINE) if part.strip()]
    titles = [part.partition("\n")[0] for part in sections]
    at = titles.index(heading) if heading in titles else len(sections)
    sections[at : at + 1] = [section]
    return "\n\n".join(part.strip() for part in sections) + "\n"


def put(section: str) -> None:
    """Write the section into the page."""
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), section), encoding="utf-8")


def circumstances(sharing: str) -> str:
    """When, of which commit, and on what; `sharing` says what was measured together."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=PAGE.parent, capture_output=True, text=True, check=True).stdout.strip()
    python = platform.python_version()
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}. {this_machine()}, Python {python}; {sharing}."
