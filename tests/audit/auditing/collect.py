# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads many small applications, each in a fork of this process, and prints a line of JSON for each.

    python collect.py FILE...

What the audit's child does in a process of its own, without importing Celery two hundred times.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import redis  # noqa: F401
from celeryops_audit import child


def facts_of(path: Path, out: int) -> None:
    os.chdir(path.parent)
    sys.path.insert(0, str(path.parent))
    known, _ = child.facts(f"{path.stem}:app")
    with os.fdopen(out, "w") as stream:
        json.dump(known, stream)


def main() -> None:
    for name in sys.argv[1:]:
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            try:
                facts_of(Path(name), writer)
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as stream:
            print(json.dumps([name, json.loads(stream.read())]), flush=True)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
