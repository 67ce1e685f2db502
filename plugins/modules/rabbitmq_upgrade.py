#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether the RabbitMQ of this host may be upgraded now, and to what."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_upgrade
short_description: Say whether the RabbitMQ of this host may be upgraded now, and to what
description:
  - Finds the newest version that apt knows, or the one that is asked for, and compares it with the installed one.
  - Refuses, with one sentence a fault, a step that RabbitMQ does not support, and a cluster with alarms, partitions,
    missing nodes, or feature flags that are not enabled. Changes nothing.
author: celeryops.stack maintainers (@celeryops)
options:
  node:
    description: Name of the node.
    type: str
    required: true
  version:
    description: The package's version that is wanted, or how it begins, such as V(4.1.); empty, the newest.
    type: str
    default: ""
  timeout:
    description: Seconds to wait for the node.
    type: int
    default: 60
attributes:
  check_mode:
    description: Never changes anything.
    support: full
"""

EXAMPLES = r"""
- name: May it be upgraded
  celeryops.stack.rabbitmq_upgrade:
    node: rabbit@broker1
  register: upgrade
"""

RETURN = r"""
installed:
  description: Version of the package that is installed.
  type: str
  returned: success
  sample: 4.0.5-8
wanted:
  description: Version that it is to be upgraded to; the installed one where there is nothing newer.
  type: str
  returned: success
  sample: 4.1.2-1
disabled_flags:
  description: Feature flags that every node knows and that are not enabled, without experimental ones.
  type: list
  elements: str
  returned: success
"""

import json
import subprocess
from functools import cmp_to_key
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import Failure, Tools
from ansible_collections.celeryops.stack.plugins.module_utils.upgrade import (
    down,
    hop_problem,
    state_problems,
    store_problem,
)

PACKAGE = "rabbitmq-server"
SERVER = "rabbitmq-server.service"


def said(*command: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"{' '.join(command)} failed: {' '.join(done.stderr.split())}")
    return done.stdout


def newer(first: str, second: str) -> int:
    """Compare versions as dpkg does."""
    later = subprocess.run(["dpkg", "--compare-versions", first, "gt", second], check=False).returncode == 0
    return 1 if later else 0 if first == second else -1


def run(given: dict[str, Any], tool: str) -> dict[str, Any]:
    """Look, and raise what is in the way."""
    installed = said("dpkg-query", "--show", "--showformat", "${Version}", PACKAGE)
    rows = [line.split("|") for line in said("apt-cache", "madison", PACKAGE).splitlines()]
    known = sorted({row[1].strip() for row in rows if len(row) > 1}, key=cmp_to_key(newer))
    fitting = [version for version in known if version.startswith(given["version"])]
    if given["version"] and not fitting:
        raise Failure(f"apt knows no {PACKAGE} {given['version']}, only {', '.join(known)}: see rabbitmq_repository.")
    wanted = (fitting or [installed])[-1]
    older = newer(installed, wanted) > 0
    if older and not given["version"]:
        wanted, older = installed, False
    if problem := hop_problem(installed, wanted, older=older):
        raise Failure(problem)
    if subprocess.run(["systemctl", "is-active", "--quiet", SERVER], check=False).returncode:
        raise Failure(down([given["node"]]))
    tools = Tools(tool, given["timeout"])
    columns = ["name", "state", "stability"]
    flags = json.loads(tools.run("rabbitmqctl", "list_feature_flags", *columns, "--formatter", "json"))
    enabled = [flag["name"] for flag in flags if flag["state"] == "enabled"]
    if problem := store_problem(installed, wanted, enabled):
        raise Failure(problem)
    disabled = [flag["name"] for flag in flags if flag["state"] == "disabled" and flag["stability"] != "experimental"]
    if problems := state_problems(tools.status(), disabled if wanted != installed else []):
        raise Failure(" ".join(problems))
    return {"installed": installed, "wanted": wanted, "disabled_flags": disabled}


def main() -> None:
    """Declare the arguments and run."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "version": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    tool = module.get_bin_path("rabbitmqctl", required=True, opt_dirs=["/usr/sbin"])
    try:
        module.exit_json(changed=False, **run(module.params, tool))
    except (Failure, ValueError) as failure:
        module.fail_json(msg=str(failure))


if __name__ == "__main__":
    main()
