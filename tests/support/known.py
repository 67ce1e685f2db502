#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add what is installed to the table of functions that the runtime was made for (``celeryops_runtime/known.json``).

    tests/support/known.py [SITE-PACKAGES...]     after everything was tried with these versions

A function that the runtime begins to rely on is written into the table by hand, with an empty list.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "roles/runtime/files"))

from celeryops_runtime import known  # noqa: E402


def add(table: dict[str, Any], root: Path) -> None:
    """Add the hashes of the files and functions below this folder; it may have some of the packages only."""
    for name, entry in table.items():
        file = root / name
        if not file.is_file():
            continue
        source = file.read_text(encoding="utf-8")
        here = known.functions(source)
        entry["files"] = sorted({*entry["files"], known.digest(source)})
        for function, hashes in entry["functions"].items():
            entry["functions"][function] = sorted({*hashes, here[function]})


if __name__ == "__main__":
    table = known.read()
    for place in sys.argv[1:] or [sysconfig.get_path("purelib")]:
        add(table, Path(place))
    known.TABLE.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")
