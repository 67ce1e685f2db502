# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guide shows of a file stands in it, and what it has its reader do can be done in order."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from guides import GUIDES, ROOT, Block, blocks, script

PAGES = sorted(GUIDES.glob("*.md"))
PAGE = """
Write a file:

```yaml title="mine/its file.yml"
- name: $HOME stays as it is
```

```bash
cat "mine/its file.yml"
here=$PWD
```

Of `galaxy.yml`:

```yaml title="galaxy.yml"
namespace: celeryops
```

```bash
echo "still in $here"
```
"""


def test_the_blocks_of_a_page_are_found() -> None:
    assert blocks(PAGE)[0] == Block(4, "yaml", "mine/its file.yml", "- name: $HOME stays as it is\n")
    assert [(block.line, block.language, block.is_excerpt) for block in blocks(PAGE)] == [
        (4, "yaml", False),
        (8, "bash", False),
        (15, "yaml", True),
        (19, "bash", False),
    ]


def test_a_page_is_followed_in_one_shell(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    done = subprocess.run(
        ["bash", "-c", script(blocks(PAGE))], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "==> line 4",
        "==> line 8",
        "- name: $HOME stays as it is",
        "==> line 19",
        f"still in {tmp_path}",
    ]


def test_a_command_that_fails_ends_it() -> None:
    done = subprocess.run(
        ["bash", "-c", script(blocks("```bash\nfalse\necho on\n```\n"))], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"==> line 1\n")


@pytest.mark.parametrize("page", ["```\nno language\n```\n", "```bash\nno end\n", "```yaml name=x\n```\n"])
def test_a_block_that_nobody_would_follow_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="line 1: "):
        blocks(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_guide_shows_of_a_file_stands_in_it(page: Path) -> None:
    excerpts = [block for block in blocks(page.read_text(encoding="utf-8")) if block.is_excerpt]
    assert excerpts
    for block in excerpts:
        assert block.text in (ROOT / block.title).read_text(encoding="utf-8"), f"{page.name}, line {block.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_guide_is_followed_by_a_scenario(page: Path) -> None:
    assert (ROOT / "molecule" / page.stem / "molecule.yml").is_file()
    assert (ROOT / f"tests/operations/test_{page.stem}.py").is_file()
