#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the data of a service that runs, or refuse where there is data already."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot
short_description: Copy the data of a service that runs, or refuse where there is data already
description:
  - V(taken) copies the data as it is at one moment into one file, while the service goes on.
  - V(free) changes nothing, and fails with one sentence where there is data that a restore would replace.
author: celeryops.stack maintainers (@celeryops)
options:
  kind:
    description: V(redis), the folder of its append-only files; V(sqlite), a database.
    type: str
    choices: [redis, sqlite]
    required: true
  path:
    description: Where the data is.
    type: path
    required: true
  state:
    description: Whether to copy, or to look only.
    type: str
    choices: [taken, free]
    default: taken
  dest:
    description: File on the host that the copy becomes, which only root can read. Required to copy.
    type: path
  tables:
    description: The tables of a database whose rows are data.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Copies nothing.
    support: full
"""

EXAMPLES = r"""
- name: Backup | Copy the data
  celeryops.stack.snapshot:
    kind: redis
    path: /var/lib/redis/appendonlydir
    dest: /root/redis.tar.gz
"""

RETURN = r"""
bytes:
  description: Size of the copy.
  type: int
  returned: when one was taken
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.snapshots import (
    Unusable,
    copy_sqlite,
    pack_redis,
    redis_holds,
    sqlite_holds,
)


def take(kind: str, path: Path, dest: Path) -> int:
    """Copy, and return the size."""
    handle = os.open(dest, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.close(handle)
    os.chmod(dest, 0o600)
    (pack_redis if kind == "redis" else copy_sqlite)(path, dest)
    return dest.stat().st_size


def main() -> None:
    """Declare the arguments and run."""
    module = AnsibleModule(
        argument_spec={
            "kind": {"type": "str", "choices": ["redis", "sqlite"], "required": True},
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["taken", "free"], "default": "taken"},
            "dest": {"type": "path"},
            "tables": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "taken", ["dest"])],
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    path = Path(given["path"])
    try:
        if given["state"] == "free":
            found = redis_holds(path) if given["kind"] == "redis" else sqlite_holds(path, given["tables"])
            if found:
                module.fail_json(
                    msg=f"There is {found}, which a restore would replace: restore onto a fresh host, or write "
                    "-e restore_over=true to have it put aside."
                )
            module.exit_json(changed=False)
        size = 0 if module.check_mode else take(given["kind"], path, Path(given["dest"]))
    except (Unusable, OSError, sqlite3.Error) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, bytes=size)


if __name__ == "__main__":
    main()
