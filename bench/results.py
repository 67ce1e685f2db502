# SPDX-License-Identifier: GPL-3.0-or-later
"""bench/RESULTS.md, of which each script writes the section that begins with its heading."""

import re
from pathlib import Path

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
