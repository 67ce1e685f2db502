#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a virtual environment that contains exactly what is listed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: venv
short_description: Make a virtual environment that contains exactly what is listed
description:
  - Builds with uv, which itself is kept in the folder O(tools); its cache lies beside that folder.
  - It is built anew when anything listed, or the interpreter's version, is not what it was built from.
  - It is built beside its place and moved there, so a failed or interrupted build leaves the old one as it was.
author: celeryops.stack maintainers (@celeryops)
options:
  path:
    description: Where the virtual environment shall be.
    type: path
    required: true
  requirements:
    description: Requirements, such as V(celery==5.7.0); pin them, because an unpinned one is never updated.
    type: list
    elements: str
    default: []
  requirements_files:
    description: Requirement files on the host; a change of their contents counts.
    type: list
    elements: path
    default: []
  constraints:
    description: Constraints, written like requirements.
    type: list
    elements: str
    default: []
  no_deps:
    description: Whether to install only what is listed, without dependencies.
    type: bool
    default: false
  require_hashes:
    description: Whether every requirement must have a hash.
    type: bool
    default: false
  python:
    description: The interpreter.
    type: path
    default: /usr/bin/python3
  tools:
    description: Folder in which uv is kept.
    type: path
    default: /opt/celery/tools
  uv_version:
    description: Version of uv.
    type: str
    default: 0.13.9
  environment:
    description:
      - Environment of pip and uv, for proxies, indexes and CA bundles.
      - Where pip and uv have different names for a setting, one of them is enough (C(PIP_CERT), C(PIP_INDEX_URL),
        C(PIP_EXTRA_INDEX_URL), C(PIP_FIND_LINKS), C(PIP_NO_INDEX), C(PIP_TRUSTED_HOST) and their counterparts).
      - It is no part of what the virtual environment is built from, and never shown.
    type: dict
    default: {}
  _environment:
    description: Internal use only.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says whether it would build.
    support: full
  diff_mode:
    description: Shows the requirements.
    support: full
"""

EXAMPLES = r"""
- name: Install | Make Flower's virtual environment
  celeryops.stack.venv:
    path: /opt/celery/flower
    requirements: [flower==2.2.0, celery==5.7.0]
    environment: {PIP_CERT: /etc/celery/ca.pem}
"""

RETURN = r"""
output:
  description: The last lines of the command that failed.
  type: str
  returned: failure
path:
  description: Where the virtual environment is.
  type: str
  returned: always
changed_paths:
  description: The path when it was built, to be handed to M(celeryops.stack.units).
  type: list
  elements: str
  returned: always
"""

import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.trees import unpack
from ansible_collections.celeryops.stack.plugins.module_utils.venvs import (
    UV_VERSION,
    BuildError,
    Requirements,
    Uv,
    python_version,
    read_marker,
    rebuild,
)

OPTIONS: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "requirements": {"type": "list", "elements": "str", "default": []},
    "requirements_files": {"type": "list", "elements": "path", "default": []},
    "constraints": {"type": "list", "elements": "str", "default": []},
    "no_deps": {"type": "bool", "default": False},
    "require_hashes": {"type": "bool", "default": False},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "tools": {"type": "path", "default": "/opt/celery/tools"},
    "uv_version": {"type": "str", "default": UV_VERSION},
    "environment": {"type": "dict", "default": {}},
    "_environment": {"type": "str", "default": "", "no_log": True},
}


def listed(requirements: object) -> str:
    """Return what a diff shows of requirements."""
    return "".join(f"{line}\n" for line in requirements) if isinstance(requirements, list | tuple) else ""


def failed(problem: BuildError | OSError) -> dict[str, str]:
    """What the module fails with."""
    return (problem if isinstance(problem, BuildError) else BuildError(str(problem))).result("venv")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    params = module.params
    os.umask(0o022)
    path = params["path"]
    environment = json.loads(unpack(params["_environment"]).get("environment", b"{}"))
    wanted = Requirements(
        tuple(params["requirements"]),
        tuple(params["requirements_files"]),
        tuple(params["constraints"]),
        params["no_deps"],
        params["require_hashes"],
    )
    uv = Uv(params["tools"], params["python"], environment, params["uv_version"])
    marker = read_marker(path)
    try:
        fingerprint = wanted.fingerprint(python_version(params["python"]))
    except (BuildError, OSError) as problem:
        if not module.check_mode:
            module.fail_json(**failed(problem))
        fingerprint = "not known yet"
    changed = marker.get("fingerprint") != fingerprint
    if changed and not module.check_mode:
        try:
            rebuild(path, uv, wanted, fingerprint)
        except (BuildError, OSError) as problem:
            module.fail_json(**failed(problem))
    result: dict[str, Any] = {"changed": changed, "path": path, "changed_paths": [path] if changed else []}
    if module._diff and changed:
        before, after = listed(marker.get("requirements")), listed(wanted.requirements)
        result["diff"] = {"before": before, "after": after, "before_header": path, "after_header": path}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
