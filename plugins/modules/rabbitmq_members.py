#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See that all nodes of a RabbitMQ cluster are in it, and that each quorum queue has a member on each of them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_members
short_description: Give every quorum queue a member on every node of the cluster
description:
  - Waits until all O(nodes) are members of the cluster of this host's node, and run.
  - A queue that has no member on one of them gets one. No member is ever removed, with one exception.
  - O(forget) takes a node that is down, and will not come back, out of the cluster and out of its queues. It refuses,
    with one sentence, when that node runs, is no member, or when a queue has no majority without it.
author: celeryops.stack maintainers (@celeryops)
options:
  nodes:
    description: Names of all nodes.
    type: list
    elements: str
    default: []
  vhost:
    description: Virtual host whose queues are meant.
    type: str
    required: true
  forget:
    description: Name of a node to take out.
    type: str
  timeout:
    description: Seconds to wait for the nodes, and for the new members.
    type: int
    default: 120
attributes:
  check_mode:
    description: Reports what would change. On a host without a running node that is everything.
    support: full
  diff_mode:
    description: Shows how many queues get a member, and where.
    support: full
"""

EXAMPLES = r"""
- name: Give every queue a member on every node
  celeryops.stack.rabbitmq_members:
    nodes: [rabbit@broker1, rabbit@broker2, rabbit@broker3]
    vhost: celery
  run_once: true

- name: Take a node out that is gone for good
  celeryops.stack.rabbitmq_members:
    forget: rabbit@broker3
    vhost: celery
  run_once: true
"""

RETURN = r"""
members:
  description: The nodes of the cluster.
  type: list
  elements: str
  returned: after O(forget)
"""

import re
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.cluster import (
    all_members,
    all_online,
    lacking_members,
    may_be_forgotten,
    unjoined,
)
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import Failure, Tools


def await_(what: Callable[[], str | None], timeout: float) -> None:
    """Wait until there is nothing left to say; after timeout seconds raise it."""
    end = time.monotonic() + timeout
    while sentence := what():
        if time.monotonic() > end:
            raise Failure(sentence)
        time.sleep(1)


def grow(tools: Tools, given: dict[str, Any], check: bool) -> dict[str, Any]:
    """Let every queue have a member on every node."""
    vhost, nodes, timeout = given["vhost"], given["nodes"], given["timeout"]

    def lacking() -> dict[str, list[str]]:
        return lacking_members(tools.queues(vhost), nodes)

    rows = tools.queues(vhost)
    missing = lacking_members(rows, nodes)
    if not missing and all_online(rows):
        return {"changed": False}
    if not check:
        await_(lambda: unjoined(tools.status(), nodes), timeout)
        missing = lacking()  # what was just declared may not have told all about itself at once
    for node in [] if check else missing:
        tools.run("rabbitmq-queues", "grow", node, "all", "--vhost-pattern", f"^{re.escape(vhost)}$", timeout=600)

    def left() -> str | None:
        names = {f"{queue} on {node}" for node, queues in lacking().items() for queue in queues}
        said = f"These queues did not get a member: {', '.join(sorted(names))}; see /var/log/rabbitmq."
        return said if names else None

    if missing and not check:
        await_(left, timeout)
    lines = [f"{len(queues)} queues get a member on {node}\n" for node, queues in sorted(missing.items())]
    return {"changed": bool(missing), "diff": {"before": "", "after": "".join(lines)}}


def forget(tools: Tools, given: dict[str, Any], check: bool) -> dict[str, Any]:
    """Take a dead node out."""
    node, vhost = given["forget"], given["vhost"]
    if sentence := may_be_forgotten(tools.status(), tools.queues(vhost), node):
        raise Failure(sentence)
    if not check:
        tools.run("rabbitmq-queues", "shrink", node, timeout=600)
        tools.run("rabbitmqctl", "forget_cluster_node", node, timeout=given["timeout"])
        if node in all_members(tools.status()):
            raise Failure(f"{node} is still a member of the cluster: see /var/log/rabbitmq.")
    return {
        "changed": True,
        "members": sorted(all_members(tools.status())),
        "diff": {"before": f"{node} is a member\n", "after": ""},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "default": []},
            "vhost": {"type": "str", "required": True},
            "forget": {"type": "str"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    tool = module.get_bin_path("rabbitmqctl", required=not module.check_mode, opt_dirs=["/usr/sbin"])
    work = grow if module.params["forget"] is None else forget
    try:
        result = work(Tools(tool), module.params, module.check_mode) if tool else {"changed": True}
    except Failure as failure:
        if not (module.check_mode and work is grow):
            module.fail_json(msg=str(failure))
        result = {"changed": True}  # no node runs yet
    module.exit_json(**result)


if __name__ == "__main__":
    main()
