# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets are where their readers are, and nowhere else."""

from __future__ import annotations

import pytest
from verification import expected
from verification.background import Background
from verification.node import Node

LISTING = "find %s -printf '%%m %%U %%y %%p\\n'"
#: Redis is the result backend, the broker, or both.
REDIS = [
    *((f"/etc/redis/{name}", "root", "redis", 0o640) for name in ("users.acl", "sentinel.acl", "redis.conf")),
    ("/etc/redis/tls/key.pem", "redis", "redis", 0o400),
]
#: Files of packages that hold a secret for a service user, by what runs there: path, owner, group and mode.
PACKAGED = {
    "rabbitmq": [
        ("/var/lib/rabbitmq/.erlang.cookie", "rabbitmq", "rabbitmq", 0o400),
        ("/etc/rabbitmq/tls/key.pem", "rabbitmq", "rabbitmq", 0o400),
    ],
    "redis": REDIS,
}


def test_only_root_can_read_the_credentials(node: Node) -> None:
    for place in expected.secret_places(node.host):
        entries = [line.split(" ", 3) for line in node.output(LISTING, place).splitlines()]
        wanted = {"d": "700", "f": "600"}
        wrong = [
            f"{path} is {mode} of user {user}"
            for mode, user, kind, path in entries
            if (mode, user) != (wanted[kind], "0")
        ]
        assert not wrong, f"{node.name}: {', '.join(wrong)}; planned 700 and 600 of user 0"
        assert any(kind == "f" for *_rights, kind, _path in entries), f"{place} on {node.name} is empty"


@pytest.mark.parametrize("service", sorted(PACKAGED))
def test_files_of_service_users(node: Node, service: str) -> None:
    if service in expected.listening(node.host):
        for path, owner, team, mode in PACKAGED[service]:
            file = node.shell.file(path)
            if file.exists:
                found = (file.user, file.group, file.mode)
                assert found == (owner, team, mode), f"{path} on {node.name} is {found[0]}:{found[1]} {found[2]:o}"


def test_no_secret_can_be_seen(node: Node, background: Background) -> None:
    """Not in command lines, environments, unit properties, the journal, or files that anybody may read."""
    assert node.host.secrets, "the facts know no secret to look for"
    leaks = background.leaks[node.name].result()
    assert not leaks, f"{node.name}: {'; '.join(leaks[:20])}"
