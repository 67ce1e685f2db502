#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart the RabbitMQ node of this host when its cluster can spare it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_restart
short_description: Restart the RabbitMQ node of this host when its cluster can spare it
description:
  - Refuses, with one sentence, while another node of the cluster does not run, is drained, or is cut off. So never two
    nodes are away at a time, in whatever order and from wherever this is called.
  - Waits until every quorum queue has one member more than its majority, drains the node (its leaders move to other
    nodes, its clients are sent away and connect to them), and restarts it;
    it is up when it has caught up with its cluster.
  - Run it with C(throttle) 1, or C(serial) 1, on all nodes.
author: celeryops.stack maintainers (@celeryops)
options:
  node:
    description: Name of the node.
    type: str
    required: true
  members:
    description: Nodes of its cluster. One that is alone is simply restarted.
    type: list
    elements: str
    required: true
  state:
    description: V(drained) leaves the restart to whoever asked; a node that is alone then stays as it is.
    type: str
    choices: [restarted, drained]
    default: restarted
  units:
    description: Units that are restarted; what is not rabbitmq-server.service while that is stopped.
    type: list
    elements: str
    default: [rabbitmq-server.service]
  timeout:
    description: Seconds to wait for the queues, and for the node to be drained.
    type: int
    default: 300
attributes:
  check_mode:
    description: Says that it would restart the node, or why not.
    support: full
  diff_mode:
    description: Shows the units.
    support: full
"""

EXAMPLES = r"""
- name: Restart it, one node after another
  celeryops.stack.rabbitmq_restart:
    node: rabbit@broker1
    members: [rabbit@broker1, rabbit@broker2, rabbit@broker3]
  throttle: 1

- name: Take everything off it, before it is stopped
  celeryops.stack.rabbitmq_restart:
    node: rabbit@broker1
    members: [rabbit@broker1, rabbit@broker2, rabbit@broker3]
    state: drained
"""

RETURN = r"""# Nothing but what every module returns. """

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.cluster import may_restart
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import Failure, Tools
from ansible_collections.celeryops.stack.plugins.module_utils.systemctl import Failed, Systemd

SERVER = "rabbitmq-server.service"
#: Seconds between two looks at the cluster.
ROUND = 20


def restart(units: list[str]) -> None:
    """Restart the units, the server last; what is started must come up."""
    systemd = Systemd()
    running = systemd.show([SERVER])[SERVER].running
    others = [unit for unit in units if unit != SERVER]
    if running:
        systemd.must("stop", "--", SERVER)
    if others:
        systemd.must("restart", "--", *others)
    if running:
        systemd.must("start", "--", SERVER)


def drain(tools: Tools, node: str, timeout: int) -> None:
    """Wait until the cluster can do without the node, and take everything off it."""
    end, waited = time.monotonic() + timeout, False
    while not waited:
        # In every round: that a node died without a word is noticed only after a while.
        if sentence := may_restart(tools.status(), node):
            raise Failure(sentence)
        waited = can_do_without_it(tools, min(ROUND, timeout))
        if not waited and time.monotonic() > end:
            raise Failure(
                f"Without {node} queues would have no majority, and that did not change within {timeout} s, so it was "
                "not restarted, and the cluster goes on serving: see 'rabbitmq-queues "
                "check_if_node_is_quorum_critical' there."
            )
    tools.run("rabbitmq-upgrade", "drain", timeout=timeout)


def can_do_without_it(tools: Tools, seconds: int) -> bool:
    """Whether every queue has a member more than its majority within these seconds."""
    try:
        tools.run("rabbitmq-upgrade", "await_online_quorum_plus_one", "--timeout", str(seconds), timeout=seconds + 30)
    except Failure:
        return False
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "members": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["restarted", "drained"], "default": "restarted"},
            "units": {"type": "list", "elements": "str", "default": [SERVER]},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    node, members, timeout = module.params["node"], module.params["members"], module.params["timeout"]
    units = module.params["units"]
    clustered, restarts = bool(set(members) - {node}), module.params["state"] == "restarted"
    if not clustered and not restarts:
        module.exit_json(changed=False)
    tools = Tools(module.get_bin_path("rabbitmqctl", required=True, opt_dirs=["/usr/sbin"]))
    try:
        if module.check_mode:
            sentence = may_restart(tools.status(), node) if clustered else None
            if sentence:
                raise Failure(sentence)
        elif clustered:
            drain(tools, node, timeout)
            try:
                if restarts:
                    restart(units)
            except Failed as failed:
                raise Failure(
                    f"{node} did not come back, and nothing else was restarted, so its cluster serves without it: "
                    f"{failed}; see /var/log/rabbitmq, put right what was changed, and run this again."
                ) from None
        else:
            restart(units)
    except (Failure, Failed) as failure:
        module.fail_json(msg=str(failure))
    after = "".join(f"restart {unit}\n" for unit in units) if restarts else f"drain {node}\n"
    module.exit_json(changed=True, diff={"before": "", "after": after})


if __name__ == "__main__":
    main()
