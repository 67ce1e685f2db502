#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring saved definitions back onto the RabbitMQ node of this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_restore
short_description: Bring saved definitions back onto the RabbitMQ node of this host
description:
  - Imports, through C(rabbitmqctl), everything in the saved definitions that is not declared in the inventory; what is
    declared, and its passwords, are what M(celeryops.stack.rabbitmq_definitions) makes them.
  - Leaves out what names an object that is neither saved nor declared, such as the binding of a queue that lived as
    long as a connection.
  - Fails with one sentence where the node has messages, or anything that is not declared.
  - Reads back what was imported. Messages are in no definitions, so none come back.
author: celeryops.stack maintainers (@celeryops)
options:
  definitions:
    description: The saved definitions, as JSON, with the hashes of passwords.
    type: jsonarg
    required: true
  vhost:
    description: The virtual host that is declared.
    type: str
    required: true
  users:
    description: Names of the users that are declared, and have rights in O(vhost).
    type: list
    elements: str
    required: true
  former_users:
    description: Names of users that were declared before their passwords were replaced; they do not come back.
    type: list
    elements: str
    default: []
  objects:
    description: Lists of the other objects that are declared, as for M(celeryops.stack.rabbitmq_definitions).
    type: dict
    default: {}
  state:
    description: V(free) only looks whether it could be done.
    type: str
    choices: [restored, free]
    default: restored
  over:
    description: Whether to do it though the node is in use. What has the same name is overwritten, the rest stays.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for the node.
    type: int
    default: 60
attributes:
  check_mode:
    description: Says what it would import, or why not.
    support: full
  diff_mode:
    description: Shows how many objects of each kind.
    support: full
"""

EXAMPLES = r"""
- name: Bring back what was saved
  celeryops.stack.rabbitmq_restore:
    definitions: "{{ lookup('ansible.builtin.file', '.backups/20260102T030405Z/rabbitmq.json') }}"
    vhost: celery
    users: [admin, celery, monitor]
"""

RETURN = r"""
restored:
  description: How many objects of each kind were imported.
  type: dict
  returned: success
  sample: {users: 1, queues: 3}
"""

import json
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.cluster import DATA, have_run
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmq_backup import (
    beyond,
    declaration,
    in_the_way,
    lacking,
)
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import (
    Failure,
    call,
    import_definitions,
)


def messages(tool: str, timeout: float) -> list[tuple[str, int]]:
    """Every queue of every virtual host, and what it holds."""
    found = []
    for vhost in json.loads(call(tool, timeout, "list_vhosts", "name", "--formatter", "json")):
        queues = call(tool, timeout, "list_queues", "-p", vhost["name"], "name", "messages", "--formatter", "json")
        found += [(queue["name"], int(queue["messages"] or 0)) for queue in json.loads(queues or "[]")]
    return found


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do the work and return the result."""
    given, timeout = module.params, module.params["timeout"]
    tool = module.get_bin_path("rabbitmqctl", opt_dirs=["/usr/sbin"])
    declared = declaration(given["vhost"], given["users"], given["objects"], given["former_users"])
    wanted = beyond(json.loads(given["definitions"]), declared)
    counts = {kind: len(items) for kind, items in wanted.items()}
    result = {"changed": False, "restored": counts, "diff": {"before": "", "after": f"{counts}\n"}}
    if tool is None or not have_run(DATA):  # it is not installed, or has never run: as fresh as can be
        return result
    current = json.loads(call(tool, timeout, "export_definitions", "-"))
    sentence = in_the_way(current, declared, messages(tool, timeout))
    missing = lacking(current, wanted)
    if sentence and not given["over"]:
        raise Failure(sentence)
    if given["state"] == "free":
        return result
    result["changed"] = bool(missing) or given["over"]
    if module.check_mode or not result["changed"] or not wanted:
        return result
    import_definitions(tool, wanted, timeout)
    deadline = time.monotonic() + timeout  # the import goes on in the background
    while missing := lacking(json.loads(call(tool, timeout, "export_definitions", "-")), wanted):
        if time.monotonic() > deadline:
            raise Failure(f"RabbitMQ took the definitions but does not have all of them: {', '.join(missing)}.")
        time.sleep(0.5)
    return result


def main() -> None:
    """Declare the arguments and run."""
    module = AnsibleModule(
        argument_spec={
            # As one text: were each name in it a secret, no sentence could be read.
            "definitions": {"type": "jsonarg", "required": True, "no_log": True},
            "vhost": {"type": "str", "required": True},
            "users": {"type": "list", "elements": "str", "required": True},
            "former_users": {"type": "list", "elements": "str", "default": []},
            "objects": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["restored", "free"], "default": "restored"},
            "over": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except Failure as failure:
        module.fail_json(msg=str(failure))


if __name__ == "__main__":
    main()
