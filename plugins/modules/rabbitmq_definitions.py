#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring users, rights, exchanges, queues, bindings and policies onto the RabbitMQ node of this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_definitions
short_description: Converge users, rights, queues and policies of the RabbitMQ node of this host
description:
  - Reads the node's definitions over its management API, sends what is missing or differs in one import, and reads
    them back.
  - Compares passwords with the hashes that it reads, so a second run changes nothing.
  - What else exists on the node stays. Nothing but the users in O(absent_users) is ever deleted; a queue or exchange
    that exists with other properties fails the task with one sentence.
  - A queue that was declared once, which is one that is bound by its own name to a declared exchange, keeps what its
    siblings there have. Policies and rights that cover all of these cover it until it is deleted, so that its workers
    can finish and what it holds stays safe.
  - Where the node does not accept the administrator (a fresh node, another password), it is set through C(rabbitmqctl)
    on this host first; the password leaves the module only as a hash.
  - Fails when the node has an alarm or a virtual host is down.
author: celeryops.stack maintainers (@celeryops)
options:
  address:
    description: Address that the management API listens on; a wildcard is reached over loopback.
    type: str
    default: 127.0.0.1
  management_port:
    description: Port of the management API.
    type: int
    default: 15672
  ca_file:
    description: File of the CA whose certificate the management API must show. Without one it is asked in plain HTTP.
    type: path
  admin_user:
    description: Name of the administrator.
    type: str
    required: true
  admin_password:
    description: Password of the administrator.
    type: str
    required: true
  vhost:
    description: Virtual host that shall exist. The administrator gets every right in it.
    type: str
    required: true
  users:
    description: Users that shall exist.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Password of the user.
        type: str
        required: true
      tags:
        description: Tags of the user, such as V(monitoring).
        type: list
        elements: str
        default: []
      permissions:
        description: Rights in O(vhost).
        type: dict
        required: true
        suboptions:
          configure:
            description: Regular expression of what the user may declare and delete.
            type: str
            required: true
          write:
            description: Regular expression of what the user may publish to.
            type: str
            required: true
          read:
            description: Regular expression of what the user may consume.
            type: str
            required: true
  objects:
    description: Lists V(exchanges), V(queues), V(bindings) and V(policies), in the format of RabbitMQ's definitions.
    type: dict
    default: {}
  absent_users:
    description: Users that shall not exist.
    type: list
    elements: str
    default: [guest]
  consumer_timeout:
    description:
      - Milliseconds that a delivery may stay unacknowledged. Is set in the running node, through C(rabbitmqctl) on this
        host, where it differs. Channels that are open keep the one that they were opened with.
      - For the node's next start it has to stand in a file as well.
    type: int
  port:
    description: Port that the node must listen on for AMQP.
    type: int
    default: 5672
  timeout:
    description: Seconds to wait for the management API, and for the node to be healthy.
    type: int
    default: 60
attributes:
  check_mode:
    description: Reports what would change. On a host without a running node that is everything.
    support: full
  diff_mode:
    description: Shows what differs, without secrets.
    support: full
"""

EXAMPLES = r"""
- name: Service | Declare users and queues
  celeryops.stack.rabbitmq_definitions:
    admin_user: admin
    admin_password: "{{ vault_rabbitmq_admin_password }}"
    vhost: celery
    users:
      - name: celery
        password: "{{ vault_celery_broker_password }}"
        permissions: {configure: "^celery", write: "^celery", read: "^celery"}
    objects:
      queues: [{vhost: celery, name: default, arguments: {x-queue-type: quorum}}]
"""

RETURN = r"""
version:
  description: Version of RabbitMQ; empty when the node does not run (check mode).
  type: str
  returned: success
  sample: 4.0.5
undeclared_queues:
  description: Queues that were declared once and no longer are, with what they hold (up to some seconds ago).
  type: list
  elements: dict
  returned: success
  sample: [{name: old, vhost: celery, messages: 12}]
"""

import base64
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmq import (
    EVERYTHING,
    Changes,
    administrator,
    api_url,
    compare,
    desired,
    leftover,
    reason,
    retired,
    with_retired,
)
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmqctl import (
    Failure,
    evaluate,
    import_definitions,
)

REQUEST_TIMEOUT = 30


class Unreachable(Failure):
    """Nothing answers at the address."""


class LockedOut(Failure):
    """The node does not accept the administrator."""


class Api:
    """The node's management API."""

    def __init__(self, given: dict[str, Any]) -> None:
        user, password, self.ca_file = (given[name] for name in ("admin_user", "admin_password", "ca_file"))
        self.url = api_url(given["address"], given["management_port"], "https" if self.ca_file else "http")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}

    @cached_property
    def opener(self) -> urllib.request.OpenerDirector:
        """The node is on this host: a proxy from the environment has no business in between."""
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.ca_file:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca_file)))
        return urllib.request.build_opener(*handlers)

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Ask, and return whatever status is answered."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 (self.url is always http or https)
            self.url + path, data=data, headers=self.headers, method=method
        )
        try:
            with self.opener.open(request, timeout=REQUEST_TIMEOUT) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"RabbitMQ's management API does not answer at {self.url} ({error}); is rabbitmq-server running "
                "with the plugin rabbitmq_management?"
            ) from None

    def definitions(self) -> dict[str, Any]:
        """Everything that is declared on the node."""
        status, body = self.request("GET", "/api/definitions")
        if status in (401, 403):
            raise LockedOut(f"RabbitMQ does not accept the administrator: {reason(status, body)}.")
        if status != 200:
            raise Failure(f"RabbitMQ did not show its definitions: {reason(status, body)}.")
        document: dict[str, Any] = json.loads(body)
        return document

    def messages(self, vhost: str, queue: str) -> int:
        """How many messages a queue holds, by the statistics of the last seconds."""
        status, body = self.request("GET", f"/api/queues/{quote(vhost, safe='')}/{quote(queue, safe='')}")
        return int(json.loads(body).get("messages") or 0) if status == 200 else 0

    def apply(self, changes: Changes) -> None:
        """Send what differs, remove who shall not be."""
        if changes.to_import:
            status, body = self.request("POST", "/api/definitions", changes.to_import)
            if status not in (200, 201, 204):
                raise Failure(f"RabbitMQ refused the definitions: {reason(status, body)}.")
        for name in changes.to_delete:
            status, body = self.request("DELETE", f"/api/users/{quote(name, safe='')}")
            if status not in (204, 404):
                raise Failure(f"RabbitMQ did not remove the user {name}: {reason(status, body)}.")

    def healthy(self, port: int) -> None:
        """Raise unless the node has no alarm, all its virtual hosts and its listener."""
        for check in ("alarms", "virtual-hosts", f"port-listener/{port}"):
            status, body = self.request("GET", f"/api/health/checks/{check}")
            if status != 200:
                raise Failure(f"RabbitMQ is not healthy, its check '{check}' says: {reason(status, body)}.")


def await_(what: Callable[[], Any], errors: type[Failure], timeout: float) -> Any:
    """Return what() as soon as it succeeds; after timeout seconds raise what it raised."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return what()
        except errors:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.25)


def lines(shown: dict[str, str]) -> str:
    """The diff's side as text."""
    return "".join(f"{label}: {text}\n" for label, text in sorted(shown.items()))


def set_administrator(module: AnsibleModule, admin: dict[str, Any], timeout: float) -> None:
    """Let the node accept the administrator: import the user, with a hash for a password, through rabbitmqctl."""
    tool = module.get_bin_path("rabbitmqctl", required=True, opt_dirs=["/usr/sbin"])
    import_definitions(tool, compare({}, {"users": [admin]}).to_import, timeout)


def consumer_timeout(module: AnsibleModule, wanted: int, timeout: float) -> int | None:
    """Set the running node's consumer time-out where it differs; return what it was then."""
    tool = module.get_bin_path("rabbitmqctl", required=True, opt_dirs=["/usr/sbin"])
    answer = evaluate(tool, "application:get_env(rabbit, consumer_timeout).", timeout)
    found = re.fullmatch(r"\{ok,(\d+)\}", answer)
    current = int(found[1]) if found else 0
    if current == wanted:
        return None
    if not module.check_mode:
        # RabbitMQ's documented way without a restart: https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
        evaluate(tool, f"application:set_env(rabbit, consumer_timeout, {wanted}).", timeout)
    return current


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do the work and return the result."""
    given = module.params
    admin = administrator(given["admin_user"], given["admin_password"])
    users = [{**admin, "permissions": EVERYTHING}, *given["users"]]
    wanted = desired(given["vhost"], users, given["objects"])
    api = Api(given)
    locked_out = False
    current: dict[str, Any] = {}
    try:
        current = await_(api.definitions, Unreachable, 0 if module.check_mode else given["timeout"])
    except Unreachable:
        if not module.check_mode:
            raise
    except LockedOut:
        locked_out = True
        if module.check_mode:  # what else differs cannot be seen from outside
            wanted = {"users": [admin]}
        else:
            set_administrator(module, admin, given["timeout"])
            current = await_(api.definitions, LockedOut, given["timeout"])  # the import goes on in the background
    old = retired(current, wanted)
    wanted = with_retired(wanted, old)
    changes = compare(current, wanted, given["absent_users"])
    if changes.conflicts:
        raise Failure(" ".join(changes.conflicts))
    before, after = dict(changes.before), dict(changes.after)
    if given["consumer_timeout"] and current:
        was = consumer_timeout(module, given["consumer_timeout"], given["timeout"])
        if was is not None:
            before["consumer time-out"], after["consumer time-out"] = f"{was} ms", f"{given['consumer_timeout']} ms"
    undeclared = [{"vhost": vhost, "name": name, "messages": api.messages(vhost, name)} for vhost, name in sorted(old)]
    if undeclared:
        module.warn(leftover(undeclared))
    result = {
        "changed": locked_out or bool(before or after),
        "version": str(current.get("rabbitmq_version") or current.get("rabbit_version") or ""),
        "undeclared_queues": undeclared,
        "diff": {"before": lines(before), "after": lines(after)},
    }
    if module.check_mode:
        return result
    if changes:
        api.apply(changes)
        left = compare(api.definitions(), wanted, given["absent_users"])
        if left or left.conflicts:
            missing = ", ".join(sorted({*left.before, *left.after})) or " ".join(left.conflicts)
            raise Failure(f"RabbitMQ accepted the definitions but does not have them as sent: {missing}.")
    await_(lambda: api.healthy(given["port"]), Failure, given["timeout"])
    return result


def main() -> None:
    """Declare the arguments and run."""
    rights = {key: {"type": "str", "required": True} for key in ("configure", "write", "read")}
    user = {
        "name": {"type": "str", "required": True},
        "password": {"type": "str", "required": True, "no_log": True},
        "tags": {"type": "list", "elements": "str", "default": []},
        "permissions": {"type": "dict", "required": True, "options": rights},
    }
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": "127.0.0.1"},
            "management_port": {"type": "int", "default": 15672},
            "ca_file": {"type": "path"},
            "admin_user": {"type": "str", "required": True},
            "admin_password": {"type": "str", "required": True, "no_log": True},
            "vhost": {"type": "str", "required": True},
            "users": {"type": "list", "elements": "dict", "default": [], "options": user},
            "objects": {"type": "dict", "default": {}},
            "absent_users": {"type": "list", "elements": "str", "default": ["guest"]},
            "consumer_timeout": {"type": "int"},
            "port": {"type": "int", "default": 5672},
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
