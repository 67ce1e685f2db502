# SPDX-License-Identifier: GPL-3.0-or-later
"""A guide, as its reader follows it: the fenced blocks of a page, in their order.

```bash                   commands, all in one shell
```yaml title="a/file"    a file that the reader writes; or, where the repository has it, a part of that file
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs/guides"

_FENCE = re.compile(r'```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?')
_END = "END-OF-THE-FILE"


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    line: int
    language: str
    title: str
    text: str

    @property
    def is_excerpt(self) -> bool:
        """Whether the repository has that file."""
        return bool(self.title) and (ROOT / self.title).exists()


def blocks(page: str) -> list[Block]:
    """All of a page, in its order."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    first, lines = 0, list[str]()
    for number, line in enumerate(page.splitlines(keepends=True), start=1):
        if not line.lstrip().startswith("```"):
            lines.append(line)
        elif opened:
            found.append(Block(first, opened["language"], opened["title"] or "", "".join(lines)))
            opened = None
        else:
            opened, first, lines = _FENCE.fullmatch(line.rstrip("\n")), number, []
            if not opened:
                raise ValueError(f"line {number}: no language, or more than a language and a title: {line}")
    if opened:
        raise ValueError(f"line {first}: the block does not end")
    return found


def script(followed: Iterable[Block]) -> str:
    """What the reader does, for bash; it says which line of the page it is at."""
    parts = ["set -euo pipefail\n"]
    for block in followed:
        if block.title and not block.is_excerpt:
            body = f"cat >{shlex.quote(block.title)} <<'{_END}'\n{block.text}{_END}\n"
        elif block.language == "bash":
            body = block.text
        else:
            continue
        parts.append(f"echo '==> line {block.line}'\n{body}")
    return "".join(parts)
