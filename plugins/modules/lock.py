#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let one run at a time change a deployment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lock
short_description: Let one run at a time change a deployment
description:
  - Takes a lock, a file on one host, or gives it back. A run that finds it taken fails and says by whom.
  - The lock of a run that was killed is taken over by the next run from the same controller and user account; one that
    was killed on another controller has to be removed by hand, as its sentence says.
author: celeryops.stack maintainers (@celeryops)
options:
  path:
    description: The file. Below C(/run) it is gone after a restart of the host.
    type: path
    required: true
  purpose:
    description: What is going on, for whoever is refused.
    type: str
    required: true
  state:
    description: Whether to take it, to give it back, or (V(free)) only to see that nobody else who lives has it.
    type: str
    choices: [present, absent, free]
    default: present
  _holder:
    description: Internal use only.
    type: dict
    default: {}
  _instead_of:
    description: Internal use only.
    type: dict
attributes:
  check_mode:
    description: Only looks whether it is free.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Lock | One release at a time
  celeryops.stack.lock:
    path: /run/celery-release.lock
    purpose: a release
"""

RETURN = r"""
taken:
  description: Whether somebody else has it.
  type: bool
  returned: always
holder:
  description: Who has it; empty when nobody has.
  type: dict
  returned: always
  sample: {"controller": "ops1", "user": "deploy", "process": 4711, "since": "2026-01-31 12:00:00 UTC"}
"""

import contextlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

WHO = ("controller", "user", "space", "process")


def same(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    """Whether both are the same run."""
    return one is not None and all(one.get(key) == other.get(key) for key in WHO)


def holder_of(path: Path) -> dict[str, Any] | None:
    """Who has the lock; None when it is free."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:  # somebody is just writing it, or died then
        return {}
    return found if isinstance(found, dict) else {}


def take(path: Path, holder: dict[str, Any], instead_of: dict[str, Any] | None) -> dict[str, Any] | None:
    """Take the lock, also from this dead holder; returns who else has it."""
    if instead_of is not None and holder_of(path) == instead_of:
        path.unlink(missing_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(holder, file)
    except FileExistsError:
        other = holder_of(path)
        return None if same(other, holder) else other or {}
    return None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "purpose": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "free"], "default": "present"},
            "_holder": {"type": "dict", "default": {}},
            "_instead_of": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    path, holder = Path(module.params["path"]), module.params["_holder"]
    holder["purpose"] = module.params["purpose"]
    if module.params["state"] == "absent":
        ours = same(holder_of(path), holder)
        if ours and not module.check_mode:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        module.exit_json(changed=ours, holder={})
    looks = module.params["state"] == "free"
    if module.check_mode or looks:
        other = holder_of(path)
        taken = not (other is None or same(other, holder))
        module.exit_json(changed=other is None and not looks, holder=other or {}, taken=taken)
    holder["since"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    other = take(path, holder, module.params["_instead_of"])
    module.exit_json(changed=other is None, holder=holder if other is None else other, taken=other is not None)


if __name__ == "__main__":
    main()
