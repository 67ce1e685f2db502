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
  - RabbitMQ deletes a quorum queue without condition; its C(if-empty) and C(if-unused) are for classic queues only. So
    the queue is first unbound from every exchange. Once no channel has a message left that was routed before, and the
    queue is still empty, it is deleted. Otherwise it is bound again, and the module refuses.
  - What is sent to the queue's name afterwards goes where the exchange sends what nobody takes, its alternate exchange.
  - The default exchange cannot be unbound. What is published to it with the queue's name as routing key, for which the
    users of this collection have no right, can still arrive in the moment of the deletion, and is lost.
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

#: What a queue holds, and who consumes it. A quorum queue counts what it has applied; a command of ours, which changes
#: nothing, comes behind all that was sent to it before, by this node's channels and by every other's.
COUNT = """
Name = rabbit_misc:r({vhost}, queue, {name}),
Applied = fun(Server) ->
  [{{ok, _, _}} = rpc:call(Node, ra, process_command, [Server, rabbit_fifo:make_garbage_collection(), 30000])
    || Node <- [node() | nodes()]],
  {{ok, {{_, Messages}}, _}} = ra:leader_query(Server, fun rabbit_fifo:query_messages_total/1, 30000),
  Messages
end,
Count = fun(Q) ->
  Messages = case amqqueue:get_type(Q) of
    rabbit_quorum_queue -> Applied(amqqueue:get_pid(Q));
    _ -> proplists:get_value(messages, rabbit_amqqueue:info(Q, [messages]))
  end,
  {{ok, Ready, Consumers}} = rabbit_amqqueue:stat(Q),
  {{Ready, max(0, Messages - Ready), Consumers}}
end,
case rabbit_amqqueue:lookup(Name) of
  {{error, not_found}} -> absent;
  {{ok, Queue}} -> {then}
end.
"""
THEN_SAY = "Count(Queue)"
#: What routes, be it a channel or the worker that hands on the dead letters of a quorum queue, such as delayed tasks,
#: routes and sends within one step: one that answers has nothing left that it routed before.
THEN_DELETE = """
    Free = fun({{Ready, Held, Consumers}}) -> Consumers == 0 andalso {condition} end,
    Bindings = [Each || {{binding, {{resource, _, exchange, From}}, _, _, _}} = Each
      <- rabbit_binding:list_for_destination(Name), From =/= <<>>],
    BindAgain = fun() -> [ok = rabbit_binding:add(Each, <<"ansible">>) || Each <- Bindings] end,
    try
      [ok = rabbit_binding:remove(Each, <<"ansible">>) || Each <- Bindings],
      [catch rabbit_channel:info(Channel, [pid]) || Channel <- rabbit_channel:list()],
      [catch sys:get_state(Worker, infinity) || Node <- [node() | nodes()], {{_, Worker, _, _}}
        <- rpc:call(Node, supervisor, which_children, [rabbit_fifo_dlx_sup])],
      Found = Count(Queue),
      case Free(Found) of
        true -> {{ok, _}} = rabbit_amqqueue:delete(Queue, false, false, <<"ansible">>), deleted;
        false -> BindAgain(), Found
      end
    catch
      Class:Reason:Stack -> BindAgain(), erlang:raise(Class, Reason, Stack)
    end"""


def question(vhost: str, name: str) -> str:
    """Ask the node what the queue holds."""
    return COUNT.format(vhost=text(vhost), name=text(name), then=THEN_SAY)


def deletion(vhost: str, name: str, *, with_messages: bool) -> str:
    """Have the node delete the queue, or say what it holds."""
    then = THEN_DELETE.format(condition="true" if with_messages else "Ready == 0 andalso Held == 0")
    return COUNT.format(vhost=text(vhost), name=text(name), then=then)


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
    tool = module.get_bin_path("rabbitmqctl", required=True, opt_dirs=["/usr/sbin"])

    def refused(found: dict[str, int] | None) -> str | None:
        return may_be_deleted(name, vhost, given["declared"], found, given["with_messages"])

    try:
        found = counts(evaluate(tool, question(vhost, name), timeout))
        if sentence := refused(found):
            raise Failure(sentence)
        messages = found["ready"] + found["held"] if found else 0
        if not module.check_mode:
            answer = evaluate(tool, deletion(vhost, name, with_messages=given["with_messages"]), timeout)
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
