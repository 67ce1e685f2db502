#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete one queue of the RabbitMQ node of this host, when nobody needs it any more."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_queue
short_description: Delete a queue of the RabbitMQ node of this host, when nobody needs it any more
description:
  - Refuses, with one sentence, when the queue is declared, does not exist, has consumers, or holds messages.
  - The node itself looks once more when it deletes, so that a message which arrived meanwhile is safe.
  - What is sent to the queue's name afterwards goes where the exchange sends what nobody takes.
author: celeryops.stack maintainers (@celeryops)
options:
  name:
    description: Name of the queue.
    type: str
    required: true
  vhost:
    description: Virtual host that it is in.
    type: str
    required: true
  state:
    description: There is one only; queues are declared with M(celeryops.stack.rabbitmq_definitions).
    type: str
    choices: [absent]
    default: absent
  declared:
    description: Names of the queues that must stay.
    type: list
    elements: str
    required: true
  with_messages:
    description: Whether to delete it together with the messages that it holds.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for the node.
    type: int
    default: 60
attributes:
  check_mode:
    description: Says whether it would delete the queue, or why not.
    support: full
  diff_mode:
    description: Shows the queue with the number of its messages.
    support: full
"""

EXAMPLES = r"""
- name: Delete a queue that was taken out of the declaration
  celeryops.stack.rabbitmq_queue:
    name: old
    vhost: celery
    declared: [default, critical]
"""

RETURN = r"""
messages:
  description: How many messages the queue held.
  type: int
  returned: success
"""

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmq import may_be_deleted
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import Failure, evaluate, text

#: What a queue holds and who consumes it. What somebody works on is counted by the node every five seconds only.
LOOK = """
case rabbit_amqqueue:lookup(rabbit_misc:r({vhost}, queue, {name})) of
  {{error, not_found}} -> absent;
  {{ok, Q}} ->
    {{ok, Ready, Consumers}} = rabbit_amqqueue:stat(Q),
    [{{_, Held}}] = rabbit_amqqueue:info(Q, [messages_unacknowledged]),
    {then}
end.
"""
THEN_SAY = "{Ready, Held, Consumers}"
THEN_DELETE = """
    if Consumers == 0, {condition} ->
      {{ok, _}} = rabbit_amqqueue:delete(Q, false, false, <<"ansible">>),
      deleted;
    true -> {{Ready, Held, Consumers}}
    end"""


def counts(answer: str) -> dict[str, int] | None:
    """What the node said of the queue; None where it has none."""
    if answer == "absent":
        return None
    found = re.fullmatch(r"\{(\d+),(\d+),(\d+)\}", answer)
    if not found:
        raise Failure(f"RabbitMQ did not say what the queue holds: {answer}")
    return {"ready": int(found[1]), "held": int(found[2]), "consumers": int(found[3])}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "vhost": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["absent"], "default": "absent"},
            "declared": {"type": "list", "elements": "str", "required": True},
            "with_messages": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    given = module.params
    name, vhost, timeout = given["name"], given["vhost"], given["timeout"]
    place = {"vhost": text(vhost), "name": text(name)}
    tool = module.get_bin_path("rabbitmqctl", required=True, opt_dirs=["/usr/sbin"])

    def refused(found: dict[str, int] | None) -> str | None:
        return may_be_deleted(name, vhost, given["declared"], found, given["with_messages"])

    try:
        found = counts(evaluate(tool, LOOK.format(**place, then=THEN_SAY), timeout))
        if sentence := refused(found):
            raise Failure(sentence)
        messages = found["ready"] + found["held"] if found else 0
        if not module.check_mode:
            condition = "true" if given["with_messages"] else "Ready == 0, Held == 0"
            then = THEN_DELETE.format(condition=condition)
            answer = evaluate(tool, LOOK.format(**place, then=then), timeout)
            if answer != "deleted":
                raise Failure(refused(counts(answer)) or f"RabbitMQ did not delete the queue {name}: {answer}")
    except Failure as failure:
        module.fail_json(msg=str(failure))
    module.exit_json(
        changed=True,
        messages=messages,
        diff={"before": f"queue {name} in {vhost}: {messages} messages\n", "after": ""},
    )


if __name__ == "__main__":
    main()
