#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Begin and end a rotation of passwords on the RabbitMQ or Redis of this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rotation
short_description: Begin and end a rotation of passwords on the RabbitMQ or Redis of this host
description:
  - V(ready) refuses, with one sentence a fault, what would leave clients with a password that is no longer good, and
    changes nothing.
  - V(finished) waits until nobody is connected to RabbitMQ as a user of a former generation, and removes those users.
    While somebody is, it fails and says from where, and they stay.
author: celeryops.stack maintainers (@celeryops)
options:
  service:
    description: What the users are users of. Redis' users of former generations are removed by the role redis.
    type: str
    choices: [rabbitmq, redis]
    required: true
  state:
    description: Which end of the rotation.
    type: str
    choices: [ready, finished]
    required: true
  users:
    description: Users of the plan, each with C(name), C(password_in) and C(former).
    type: list
    elements: dict
    required: true
  passwords:
    description: Passwords by the variable that C(password_in) names.
    type: dict
    required: true
  generation:
    description: The generation of these passwords.
    type: int
    required: true
  cookie:
    description: The Erlang cookie that is declared; it is compared with the host's where it is not empty.
    type: str
    default: ""
  keep:
    description: Users of former generations that stay.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for RabbitMQ, and for the last connection of former users to end.
    type: int
    default: 60
attributes:
  check_mode:
    description: Says what it would remove.
    support: full
  diff_mode:
    description: Shows the users that it removes.
    support: full
"""

EXAMPLES = r"""
- name: Remove users that nobody is any more
  celeryops.stack.rotation:
    service: rabbitmq
    state: finished
    users: [{name: celery-2, password_in: celery_broker_password, former: [celery]}]
    passwords: {celery_broker_password: "{{ vault_celery_broker_password }}"}
    generation: 2
"""

RETURN = r"""
removed:
  description: Users that were removed.
  type: list
  elements: str
  returned: success
  sample: [celery]
kept:
  description: Users of former generations that are still there.
  type: list
  elements: str
  returned: success
  sample: [producer]
"""

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import Failure, call
from ansible_collections.celeryops.stack.plugins.module_utils.rotation import (
    Present,
    half_done,
    in_rabbitmq,
    in_redis,
    left_over,
    missing,
    still_used,
)

ACL = Path("/etc/redis/users.acl")
COOKIE = Path("/var/lib/rabbitmq/.erlang.cookie")
NAMES = {"rabbitmq": "RabbitMQ", "redis": "Redis"}


def present(service: str, tool: str | None, timeout: float) -> Present:
    """The users that there are; none where the service is not installed yet."""
    if service == "redis":
        return in_redis(ACL.read_text(encoding="utf-8")) if ACL.exists() else {}
    if tool is None:
        return {}
    return in_rabbitmq(json.loads(call(tool, timeout, "export_definitions", "-")))


def cookie_problem(wanted: str) -> list[str]:
    """One sentence where the node's cookie is another one."""
    if not wanted or not COOKIE.exists() or COOKIE.read_text(encoding="utf-8").strip() == wanted:
        return []
    return [
        "rabbitmq_erlang_cookie is not the cookie that this node has, and nodes with different ones cannot talk, so it "
        "cannot be replaced while the broker runs: write the old one again; docs/runbooks/rotate-secrets.md says how "
        "it is replaced while everything stands still."
    ]


def await_unused(tool: str, names: list[str], timeout: float) -> None:
    """Wait until nobody is connected as one of these users."""
    deadline = time.monotonic() + timeout
    while True:
        connections = json.loads(
            call(tool, timeout, "list_connections", "user", "peer_host", "--formatter", "json") or "[]"
        )
        used = still_used(connections, names)
        if not used:
            return
        if time.monotonic() >= deadline:
            raise Failure(used)
        time.sleep(0.5)


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do the work and return the result."""
    given = module.params
    service, users, timeout = given["service"], given["users"], given["timeout"]
    tool = module.get_bin_path("rabbitmqctl", opt_dirs=["/usr/sbin"]) if service == "rabbitmq" else None
    there = present(service, tool, timeout)
    problems = half_done(NAMES[service], users, given["passwords"], given["generation"], there)
    problems += cookie_problem(given["cookie"]) if service == "rabbitmq" else []
    if given["state"] == "finished" and (absent := missing(users, there)):
        problems.append(f"{NAMES[service]} has no {', '.join(absent)} yet: run this playbook for all hosts.")
    if problems:
        raise Failure(" ".join(problems))
    left = left_over(users, there)
    gone = [name for name in left if name not in given["keep"]] if given["state"] == "finished" and tool else []
    if tool and gone:
        await_unused(tool, gone, 0 if module.check_mode else timeout)
        for name in gone:
            if not module.check_mode:
                call(tool, timeout, "delete_user", name)
    return {
        "changed": bool(gone),
        "removed": gone,
        "kept": [name for name in left if name not in gone],
        "diff": {"before": "".join(f"user {name}\n" for name in gone), "after": ""},
    }


def main() -> None:
    """Declare the arguments and run."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "choices": ["rabbitmq", "redis"], "required": True},
            "state": {"type": "str", "choices": ["ready", "finished"], "required": True},
            "users": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "required": True, "no_log": True},
            "generation": {"type": "int", "required": True},
            "cookie": {"type": "str", "default": "", "no_log": True},
            "keep": {"type": "list", "elements": "str", "default": []},
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
