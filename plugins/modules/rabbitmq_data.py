#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the data of a RabbitMQ node on this host's disk, and refuse what is not of its cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_data
short_description: See whether the data on this host is that of its RabbitMQ node, and of its cluster
description:
  - Reads files and the node's command line; it changes nothing, and asks no node.
  - Fails, with one sentence, when the host holds the data of a node of another name, of a cluster with nodes that
    O(nodes) does not name, or of a cluster with another cookie.
author: celeryops.stack maintainers (@celeryops)
options:
  node:
    description: Name of the node.
    type: str
    required: true
  nodes:
    description: Names of all nodes of its cluster; none where it is alone.
    type: list
    elements: str
    default: []
  erlang_cookie:
    description: The cookie that the cluster is to have.
    type: str
    default: ""
attributes:
  check_mode:
    description: Does the same.
    support: full
"""

EXAMPLES = r"""
- name: Preflight | Look at the data that is on the host
  celeryops.stack.rabbitmq_data:
    node: rabbit@broker1
    nodes: [rabbit@broker1, rabbit@broker2, rabbit@broker3]
    erlang_cookie: "{{ vault_erlang_cookie }}"
"""

RETURN = r"""
node:
  description: Name of the node.
  type: str
  returned: always
data:
  description: Whether the node has run here before.
  type: bool
  returned: always
members:
  description: Nodes of the cluster that it remembers, itself included; none where it has not run.
  type: list
  elements: str
  returned: always
inter_node:
  description: What the running node speaks to others, V(plain) or V(tls); empty where it does not run.
  type: str
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.cluster import inter_node, look, misfit
from ansible_collections.celeryops.stack.plugins.module_utils.systemctl import Failed, Systemd

SERVER = "rabbitmq-server.service"


def command_line() -> str:
    """That of the node's process; empty where it does not run."""
    pid = Systemd().show([SERVER])[SERVER]["MainPID"]
    try:
        return Path("/proc", pid or "0", "cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
    except OSError:  # no such unit, or it has just ended
        return ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "nodes": {"type": "list", "elements": "str", "default": []},
            "erlang_cookie": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    node = module.params["node"]
    found = look(node)
    if sentence := misfit(found, node, module.params["nodes"], module.params["erlang_cookie"]):
        module.fail_json(msg=sentence)
    try:
        spoken = inter_node(command_line())
    except Failed as failed:
        module.fail_json(msg=str(failed))
    module.exit_json(
        changed=False, node=node, data=node in found.data, members=sorted(found.members), inter_node=spoken
    )


if __name__ == "__main__":
    main()
