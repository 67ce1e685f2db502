# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight of the roles rabbitmq and redis."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.rules import rabbitmq, redis

SECRET = "-".join(["a", "long", "password"])
RIGHTS = {"configure": "^a$", "write": "^b$", "read": "^c$"}
RABBITMQ: dict[str, Any] = {
    "rabbitmq_admin_user": "admin",
    "rabbitmq_admin_password": SECRET,
    "rabbitmq_vhost": "shop",
    "rabbitmq_users": [{"name": "celery", "password": SECRET, "tags": [], "permissions": RIGHTS}],
    "rabbitmq_absent_users": ["guest"],
    "rabbitmq_objects": {"queues": [{"vhost": "shop", "name": "default"}]},
    "rabbitmq_address": "10.0.0.5",
    "rabbitmq_port": 5672,
    "rabbitmq_management_address": "10.0.0.5",
    "rabbitmq_management_port": 15672,
    "rabbitmq_prometheus_address": "127.0.0.1",
    "rabbitmq_prometheus_port": 15692,
    "rabbitmq_allow_public": False,
    "rabbitmq_consumer_timeout": 1_800_000,
    "rabbitmq_memory_high_watermark": 0.4,
    "rabbitmq_disk_free_limit": "1GB",
    "rabbitmq_max_message_size": 16_777_216,
    "rabbitmq_connection_max": 10_000,
    "rabbitmq_channel_max": 2047,
    "rabbitmq_nofile": 65_536,
    "rabbitmq_node_name": "rabbit@broker1",
    "rabbitmq_nodes": [],
    "rabbitmq_erlang_cookie": "",
    "rabbitmq_settings": {},
    "rabbitmq_repository": {},
    "rabbitmq_version": "",
    "rabbitmq_timeout": 60,
}
NODES = [{"name": f"rabbit@broker{number}", "address": f"10.0.0.{number}"} for number in (1, 2, 3)]
CLUSTER = {"rabbitmq_nodes": NODES, "rabbitmq_erlang_cookie": "c" * 20}
REDIS: dict[str, Any] = {
    "redis_users": [{"name": "celery", "password": SECRET, "rules": ["~*", "&*", "+@read", "+script|load"]}],
    "redis_former_users": [],
    "redis_address": "10.0.0.5",
    "redis_port": 6379,
    "redis_allow_public": False,
    "redis_maxmemory": "512MB",
    "redis_appendfsync": "everysec",
    "redis_maxclients": 10_000,
    "redis_databases": 16,
    "redis_settings": {},
}
THREE: dict[str, Any] = {
    "redis_replicas": [{"name": f"r{number}", "address": f"10.0.0.{number}"} for number in (1, 2, 3)],
    "redis_min_replicas": 1,
    "redis_sentinel_quorum": 2,
    "redis_sentinel_down_after": 5,
    "redis_sentinel_port": 26379,
    "redis_sentinel_user": "sentinel",
    "redis_sentinel_password": SECRET,
}


NOTHING = dict.fromkeys(("redis_sentinel_quorum", "redis_sentinel_password", "redis_sentinel_user"))


def user(**changed: Any) -> list[dict[str, Any]]:
    return [{"name": "celery", "password": SECRET, "permissions": RIGHTS, "rules": ["+@read"], **changed}]


def test_good_values_pass() -> None:
    assert rabbitmq.problems(RABBITMQ) == []
    assert redis.problems(REDIS) == []
    assert redis.problems(REDIS | THREE) == []
    assert redis.problems(REDIS | THREE | {"redis_replicas": THREE["redis_replicas"][:1], **NOTHING}) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"rabbitmq_address": "::", "rabbitmq_allow_public": True},
        {"rabbitmq_address": "fd00::5"},
        {"rabbitmq_memory_high_watermark": "2GB"},
        {"rabbitmq_memory_high_watermark": "0.5"},
        {"rabbitmq_port": "5673"},
        {"rabbitmq_erlang_cookie": "A" * 20},
        CLUSTER,
        {"rabbitmq_nodes": NODES[:1]},
        {"rabbitmq_objects": {}, "rabbitmq_users": []},
    ],
)
def test_rabbitmq_accepts(changed: dict[str, Any]) -> None:
    assert rabbitmq.problems(RABBITMQ | changed) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rabbitmq_admin_password": ""}, "rabbitmq_admin_password is empty"),
        ({"rabbitmq_admin_password": "short"}, "has only 5 characters"),
        ({"rabbitmq_admin_password": 123456789012}, "is not text"),
        ({"rabbitmq_admin_password": SECRET + "\n"}, "contains a line break"),
        ({"rabbitmq_admin_user": "guest"}, "rabbitmq_admin_user is 'guest'"),
        ({"rabbitmq_vhost": ""}, "rabbitmq_vhost is ''"),
        ({"rabbitmq_address": "::"}, "every address of this host would take passwords in the clear"),
        ({"rabbitmq_address": "8.8.8.8"}, "a public address of this host"),
        ({"rabbitmq_address": "broker1"}, "no IP address"),
        ({"rabbitmq_prometheus_address": None}, "rabbitmq_prometheus_address is None"),
        ({"rabbitmq_port": 0}, "rabbitmq_port is 0"),
        ({"rabbitmq_port": True}, "rabbitmq_port is True"),
        ({"rabbitmq_port": 15672}, "give each its own port"),
        ({"rabbitmq_consumer_timeout": 1800}, "rabbitmq_consumer_timeout is 1800: write a whole number of 60000"),
        ({"rabbitmq_nofile": "many"}, "rabbitmq_nofile is 'many'"),
        ({"rabbitmq_disk_free_limit": "plenty"}, "write a size"),
        ({"rabbitmq_memory_high_watermark": 4}, "write a share of the memory"),
        ({"rabbitmq_memory_high_watermark": "much"}, "write a size"),
        ({"rabbitmq_node_name": "rabbit@broker1.example.org"}, "short host name"),
        ({"rabbitmq_erlang_cookie": "short"}, "rabbitmq_erlang_cookie is not 20 to 255"),
        ({"rabbitmq_nodes": "broker1"}, "rabbitmq_nodes must be a list of mappings"),
        ({**CLUSTER, "rabbitmq_nodes": NODES[:2]}, "rabbitmq_nodes names 2 nodes (rabbit@broker1, rabbit@broker2)"),
        ({**CLUSTER, "rabbitmq_nodes": NODES[:1] * 3}, "rabbitmq_nodes names rabbit@broker1 twice"),
        ({**CLUSTER, "rabbitmq_node_name": "rabbit@x"}, "but not this host's own rabbit@x: add it"),
        ({**CLUSTER, "rabbitmq_erlang_cookie": ""}, "rabbitmq_erlang_cookie is empty, and the nodes of a cluster"),
        (
            {**CLUSTER, "rabbitmq_nodes": [*NODES[:2], {"name": "", "address": "10.0.0.3"}]},
            "the name of the node at 10.0.0.3 is not known, as nothing was asked of its host: run without --limit",
        ),
        (
            {**CLUSTER, "rabbitmq_nodes": [*NODES[:2], {"name": "rabbit@c.example.org", "address": "10.0.0.3"}]},
            "rabbitmq_nodes: a name is 'rabbit@c.example.org': write name@host with a short host name",
        ),
        (
            {**CLUSTER, "rabbitmq_nodes": [*NODES[:2], {"name": "rabbit@c", "address": "broker3"}]},
            "the address of rabbit@c is 'broker3': write the private IPv4 address",
        ),
        ({"rabbitmq_users": "celery"}, "rabbitmq_users must be a list"),
        ({"rabbitmq_users": user(name="")}, "entry 1 has no name"),
        ({"rabbitmq_users": user(name="guest")}, "whose password everybody knows"),
        ({"rabbitmq_users": user(name="admin")}, "admin is there twice"),
        ({"rabbitmq_users": user() * 2}, "celery is there twice"),
        ({"rabbitmq_users": user(password=None)}, "the password of celery (by default celery_broker_password,"),
        ({"rabbitmq_users": user(permissions={"read": ".*"})}, "the permissions of celery must be a mapping"),
        ({"rabbitmq_users": user(permissions={**RIGHTS, "read": "["})}, "the right read of celery"),
        ({"rabbitmq_absent_users": "guest"}, "rabbitmq_absent_users must be a list"),
        ({"rabbitmq_absent_users": ["celery"]}, "rabbitmq_absent_users names celery, who shall exist"),
        ({"rabbitmq_objects": []}, "rabbitmq_objects must be a mapping"),
        ({"rabbitmq_objects": {"queue": []}}, "'queue', which is none of"),
        ({"rabbitmq_objects": {"queues": ["default"]}}, "queues must be a list of mappings"),
        ({"rabbitmq_objects": {"queues": [{"name": "default"}]}}, "queues, entry 1 has no vhost"),
        ({"rabbitmq_objects": {"queues": [{"name": "default", "vhost": "/"}]}}, "is in vhost '/': write 'shop'"),
        ({"rabbitmq_repository": "https://x"}, "rabbitmq_repository must be a mapping"),
        ({"rabbitmq_repository": {"uris": "https://x", "suites": "y"}}, "rabbitmq_repository has no key"),
        ({"rabbitmq_repository": {"uris": "https://x", "suites": "y", "key": "/no.asc"}}, "which is no file here"),
        ({"rabbitmq_version": "latest!"}, "rabbitmq_version is 'latest!'"),
        ({"rabbitmq_settings": ["heartbeat = 30"]}, "rabbitmq_settings must be a mapping"),
        ({"rabbitmq_settings": {"heartbeat": "30\nloopback_users = none"}}, "does not fit on one line"),
    ],
)
def test_rabbitmq_refuses(changed: dict[str, Any], says: str) -> None:
    problems = rabbitmq.problems(RABBITMQ | changed)
    assert len(problems) == 1, problems
    assert says in problems[0]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"redis_address": "::"}, "every address"),
        ({"redis_port": "none"}, "redis_port is 'none'"),
        ({"redis_maxmemory": "512 megabytes"}, "redis_maxmemory is '512 megabytes'"),
        ({"redis_maxmemory": 0}, "redis_maxmemory is 0"),
        ({"redis_appendfsync": False}, "redis_appendfsync is False: write always, everysec or no, in quotes"),
        ({"redis_users": None}, "redis_users must be a list"),
        ({"redis_users": []}, "nobody could use Redis"),
        ({"redis_users": user(name="default")}, "switched off"),
        ({"redis_users": user(name="two words")}, "use letters"),
        ({"redis_users": user() * 2}, "celery is there twice"),
        ({"redis_users": user(password="short")}, "celery_producer_password or celery_result_password) has only 5"),
        ({"redis_users": user(rules=[])}, "the rules of celery must be a list"),
        ({"redis_users": user(rules=["nopass"])}, "has the rule 'nopass'"),
        ({"redis_users": user(rules=["+@read on"])}, "has the rule '+@read on'"),
        ({"redis_users": user(rules=[">secret"])}, "one ACL rule"),
        ({"redis_former_users": "results"}, "redis_former_users must be a list of names"),
        ({"redis_settings": {"tcp-keepalive": "60\nrequirepass x"}}, "does not fit on one line"),
        ({"redis_settings": "tcp-keepalive 60"}, "redis_settings must be a mapping"),
    ],
)
def test_redis_refuses(changed: dict[str, Any], says: str) -> None:
    problems = redis.problems(REDIS | changed)
    assert len(problems) == 1, problems
    assert says in problems[0]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"redis_sentinel_password": ""}, "redis_sentinel_password is empty: set it, from a vault"),
        ({"redis_sentinel_quorum": 4}, "redis_sentinel_quorum is 4, but there are 3 Sentinels"),
        ({"redis_sentinel_quorum": 1}, "redis_sentinel_quorum is 1, no majority of 3 Sentinels: write 2"),
        ({"redis_sentinel_quorum": "all"}, "redis_sentinel_quorum is 'all'"),
        ({"redis_sentinel_user": "celery"}, "which redis_users names, too"),
        ({"redis_sentinel_user": "default"}, "and another than default"),
        ({"redis_min_replicas": 3}, "redis_min_replicas is 3: write a whole number from 0 to 2"),
        ({"redis_sentinel_down_after": 0}, "redis_sentinel_down_after is 0"),
        ({"redis_replicas": [*THREE["redis_replicas"][:2], {"name": "r3", "address": "127.0.0.1"}]}, "loopback"),
        ({"redis_replicas": THREE["redis_replicas"][:2]}, "where one is gone the other is no majority"),
    ],
)
def test_sentinel_refuses(changed: dict[str, Any], says: str) -> None:
    problems = redis.problems(REDIS | THREE | changed)
    assert any(says in problem for problem in problems), problems
    assert SECRET not in " ".join(problems)


def test_nothing_at_all_gives_sentences() -> None:
    assert len(rabbitmq.problems({})) > 10
    assert len(redis.problems({})) > 5


def test_no_sentence_shows_a_secret() -> None:
    short = "hunter2"
    values = RABBITMQ | {"rabbitmq_admin_password": short, "rabbitmq_users": user(password=short)}
    problems = rabbitmq.problems(values) + redis.problems(REDIS | {"redis_users": user(password=short)})
    assert short not in " ".join(problems)
