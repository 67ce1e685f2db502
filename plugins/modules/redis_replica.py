#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the Redis of this host a copy of its primary, or only look at what it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_replica
short_description: Make the Redis of this host a copy of its primary, and wait until it is
description:
  - Without O(primary) it only looks at this Redis, and asks the Sentinels which one is the primary.
  - A Redis with data of its own is never made a copy, which would delete them; Sentinel does that to a former primary.
  - This host's Redis and Sentinel are reached over loopback, with TLS or without, as they listen now.
author: celeryops.stack maintainers (@celeryops)
options:
  address:
    description: The address that this Redis is known by.
    type: str
    required: true
  port:
    description: Port of every Redis.
    type: int
    required: true
  user:
    description: User for Redis and Sentinel.
    type: str
    required: true
  password:
    description: Its password.
    type: str
    required: true
  sentinels:
    description: Addresses of the Sentinels.
    type: list
    elements: str
    required: true
  sentinel_port:
    description: Port of every Sentinel.
    type: int
    required: true
  master:
    description: The name by which Sentinel knows the primary.
    type: str
    required: true
  primary:
    description: Address of the primary.
    type: str
    default: ""
  was:
    description: What this Redis was before it was restarted; what it has as V(slave) is a copy already.
    type: str
    default: ""
  wait:
    description: Whether to wait until it has what the primary has, or only to tell it to become a copy.
    type: bool
    default: true
  tls:
    description:
      - Whether Redis and Sentinel are to speak TLS. The Sentinels of other hosts are asked in this way only, and not
        where this host's one is yet to change.
    type: bool
    default: false
  authority:
    description: File with the certificate of the CA.
    type: path
    default: /etc/redis/tls/ca.pem
  timeout:
    description: Seconds to wait.
    type: int
    default: 120
attributes:
  check_mode:
    description: Says whether it would become a copy, also where Redis is not there yet.
    support: full
"""

EXAMPLES = r"""
- name: It has what the primary has
  celeryops.stack.redis_replica:
    address: 10.0.0.12
    port: 6379
    user: sentinel
    password: "{{ redis_sentinel_password }}"
    sentinels: [10.0.0.11, 10.0.0.12, 10.0.0.13]
    sentinel_port: 26379
    master: celery
    primary: 10.0.0.11
"""

RETURN = r"""
role:
  description: C(master), C(slave), or empty where Redis does not answer yet (check mode).
  type: str
  returned: success
keys:
  description: Number of keys it holds.
  type: int
  returned: success
tls:
  description: Whether this Redis speaks TLS only; as in O(tls) where it does not answer yet (check mode).
  type: bool
  returned: success
primary:
  description: Address and epoch of the primary as the Sentinels have it; none where no Sentinel answers.
  type: dict
  returned: success
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils import redis
from ansible_collections.celeryops.stack.plugins.module_utils.rediscli import Failure, RedisCli, speaks_tls

#: Where this host's own are reached.
HERE = "127.0.0.1"


def primary_by(sentinels: list[RedisCli], master: str) -> dict[str, Any] | None:
    """The newest answer of all Sentinels."""
    answers = []
    for sentinel in sentinels:
        try:
            answers.append(redis.sentinels_answer(sentinel.say("SENTINEL", "MASTER", master)))
        except Failure:  # it is not there, not yet, or does not know the name
            continue
    return max((answer for answer in answers if answer), key=lambda answer: answer["epoch"], default=None)


def follow(server: RedisCli, given: dict[str, Any], check_mode: bool) -> tuple[bool, redis.Look]:
    """Become a copy and wait; whether something was changed, and what it is now."""
    primary, changed, deadline = given["primary"], False, time.monotonic() + given["timeout"]
    while True:
        look = redis.read_info(server.say("INFO"))
        if look.is_right(given["address"], primary):
            return changed, look
        if look.may_follow(given["address"], primary, given["was"]) and not changed:
            changed = True
            if not check_mode:
                server.say("REPLICAOF", primary, str(given["port"]))
        if check_mode or not given["wait"]:
            return changed, look
        if time.monotonic() > deadline:
            raise Failure(look.complaint(given["address"], primary, given["timeout"]))
        time.sleep(0.3)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "user": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "sentinels": {"type": "list", "elements": "str", "required": True},
            "sentinel_port": {"type": "int", "required": True},
            "master": {"type": "str", "required": True},
            "primary": {"type": "str", "default": ""},
            "was": {"type": "str", "default": ""},
            "wait": {"type": "bool", "default": True},
            "tls": {"type": "bool", "default": False},
            "authority": {"type": "path", "default": "/etc/redis/tls/ca.pem"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params
    tool = module.get_bin_path("redis-cli")
    nothing_yet = {"changed": bool(given["primary"]), "role": "", "keys": 0, "tls": given["tls"], "primary": None}
    if tool is None and module.check_mode:  # nothing is installed yet
        module.exit_json(**nothing_yet)

    def cli(host: str, port: int, tls: bool) -> RedisCli:
        authority = given["authority"] if tls else ""
        return RedisCli(tool or "redis-cli", host, port, given["user"], given["password"], authority)

    changed = False
    try:
        tls, asked = (speaks_tls(HERE, given[port]) for port in ("port", "sentinel_port"))
        server = cli(HERE, given["port"], bool(tls))
        if given["primary"]:
            changed, look = follow(server, given, module.check_mode)
        else:
            look = redis.read_info(server.say("INFO"))
    except Failure as failure:
        if module.check_mode:
            module.exit_json(**nothing_yet)
        module.fail_json(msg=f"The Redis of this host: {failure}")
    sentinels = [] if asked is None else [cli(HERE, given["sentinel_port"], asked)]
    if asked in (None, given["tls"]):
        sentinels += [cli(address, given["sentinel_port"], given["tls"]) for address in given["sentinels"]]
    found = {"role": look.role, "keys": look.keys, "tls": bool(tls), "primary": primary_by(sentinels, given["master"])}
    module.exit_json(changed=changed, **found)


if __name__ == "__main__":
    main()
