#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spread the leaders of quorum queues over the nodes of a RabbitMQ cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_leaders
short_description: Spread the leaders of quorum queues over the nodes of a cluster
description:
  - A node that is drained hands its leaders over, and gets none back when it returns. After all nodes were restarted
    one by one, the last of them leads none.
  - Has RabbitMQ rebalance them where a node leads more queues than each would if all led as many. Nothing that is
    accepted is lost by that, and clients stay connected.
author: celeryops.stack maintainers (@celeryops)
options:
  nodes:
    description: Names of all nodes.
    type: list
    elements: str
    required: true
  vhost:
    description: Virtual host whose queues are meant.
    type: str
    required: true
  timeout:
    description: Seconds to wait for the leaders to have moved.
    type: int
    default: 120
attributes:
  check_mode:
    description: Reports whether leaders would move.
    support: full
  diff_mode:
    description: Shows which leaders moved.
    support: full
"""

EXAMPLES = r"""
- name: Spread the leaders of the queues
  celeryops.stack.rabbitmq_leaders:
    nodes: [rabbit@broker1, rabbit@broker2, rabbit@broker3]
    vhost: celery
  run_once: true
"""

RETURN = r"""
moved:
  description: How many leaders moved to another node.
  type: int
  returned: success
"""

import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.cluster import crowded, leaders
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import Failure, Tools


def run(tools: Tools, given: dict[str, Any], check: bool) -> dict[str, Any]:
    """Rebalance where it is needed, and say what moved."""
    nodes, vhost, timeout = given["nodes"], given["vhost"], given["timeout"]
    rows = tools.queues(vhost)
    before, end = leaders(rows), time.monotonic() + timeout
    if check:
        return {"changed": bool(crowded(rows, nodes)), "moved": 0}
    while crowd := crowded(rows, nodes):
        # Again in every round: a leader stays where it is while no other member has caught up.
        tools.run("rabbitmq-queues", "rebalance", "quorum", "--vhost-pattern", f"^{re.escape(vhost)}$", timeout=timeout)
        rows = tools.queues(vhost)
        if crowded(rows, nodes):
            if time.monotonic() > end:
                raise Failure(
                    f"{', '.join(crowd)} leads more queues than the others, and that did not change within {timeout} "
                    "s; the cluster goes on serving: see 'rabbitmq-queues rebalance quorum' there."
                )
            time.sleep(1)
    after = leaders(rows)
    moved = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    diff = {
        which: "".join(f"{name} on {there[name]}\n" for name in moved)
        for which, there in (("before", before), ("after", after))
    }
    return {"changed": bool(moved), "moved": len(moved), "diff": diff}


def main() -> None:
    """Declare the arguments and run."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "required": True},
            "vhost": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    try:
        tools = Tools(module.get_bin_path("rabbitmqctl", required=True, opt_dirs=["/usr/sbin"]))
        module.exit_json(**run(tools, module.params, module.check_mode))
    except Failure as failure:
        module.fail_json(msg=str(failure))


if __name__ == "__main__":
    main()
