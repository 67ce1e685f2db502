# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads many applications, each in a fork of this process, and prints a line of JSON for each.

Standard input is a list of {folder, app, environ}. What the audit's child does in a process of its own, without
importing Celery two hundred times.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from celeryops_audit import child

for name in ("celery.app.amqp", "celery.backends.redis", "celery.loaders.app", "celery.schedules", "redis"):
    importlib.import_module(name)


def write_facts(wanted: dict[str, Any], out: int) -> None:
    os.chdir(wanted["folder"])
    os.environ.update(wanted["environ"])
    sys.path.insert(0, wanted["folder"])
    known, _ = child.facts(wanted["app"])
    with os.fdopen(out, "w") as stream:
        json.dump(known, stream)


def main() -> None:
    for wanted in json.load(sys.stdin):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            try:
                write_facts(wanted, writer)
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as stream:
            print(json.dumps(json.loads(stream.read())), flush=True)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
