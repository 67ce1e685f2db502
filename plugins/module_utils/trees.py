# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders and their contents on the way to a host: listing, packing, and wanted attributes."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

IGNORED = frozenset({"__pycache__", "*.pyc"})
"""What is nobody's content: Python writes it by itself."""


def list_files(root: Path, ignored: Collection[str] = IGNORED) -> list[str]:
    """Return every file and link below root as a sorted relative path; links are not followed, ignored are patterns."""

    def counts(name: str) -> bool:
        return not any(fnmatchcase(name, pattern) for pattern in ignored)

    found: list[str] = []
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [name for name in folders if counts(name) and name not in links]
        here = Path(folder).relative_to(root)
        found += [str(here / name) for name in [*files, *links] if counts(name)]
    return sorted(found)


def pack(contents: Mapping[str, bytes]) -> str:
    """Pack contents into one opaque word.

    The word is the module's only hidden parameter: no content stands in a parameter by itself, so nothing leaks,
    and a short content ("1", "root") does not make Ansible censor the same word elsewhere in the result.
    """
    text = json.dumps({name: content.decode("latin-1") for name, content in contents.items()})
    return base64.b64encode(zlib.compress(text.encode())).decode()


def unpack(word: str) -> dict[str, bytes]:
    """Undo pack()."""
    if not word:
        return {}
    loaded: dict[str, str] = json.loads(zlib.decompress(base64.b64decode(word)))
    return {name: content.encode("latin-1") for name, content in loaded.items()}


def parse_mode(value: object) -> int:
    """Read a mode: "0644" (octal, as one writes it) or the number that YAML made of an unquoted 0644."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"mode {value!r} is not a file mode: write it in quotes, such as '0644'")
    try:
        mode = value if isinstance(value, int) else int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"mode {value!r} is not a file mode: write it in quotes, such as '0644'")
    return mode


def as_content(value: object) -> bytes:
    """Turn what YAML or a template yields into a file's bytes; a list or mapping becomes JSON."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
