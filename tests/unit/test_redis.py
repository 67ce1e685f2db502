# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Redis is the primary, and which may become a copy of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import redis

HOSTS = [{"name": f"r{number}", "address": f"10.0.0.{number}"} for number in (1, 2, 3)]
INFO = """# Server
redis_version:8.0.2
# Replication
role:slave
master_host:10.0.0.1
master_port:6379
master_link_status:up
# Keyspace
db0:keys=3,expires=0,avg_ttl=0
db1:keys=4,expires=4,avg_ttl=86400
"""


def looks(**keys: int) -> dict[str, dict[str, Any]]:
    return {name: {"role": "master", "keys": count, "primary": None} for name, count in keys.items()}


def test_at_first_it_is_the_first() -> None:
    assert redis.primary(looks(r1=0, r2=0, r3=0), HOSTS) == "10.0.0.1"


def test_who_has_data_is_never_made_a_copy_of_who_has_none() -> None:
    assert redis.primary(looks(r1=0, r2=7, r3=0), HOSTS) == "10.0.0.2"


def test_the_sentinels_know_better_than_the_inventory() -> None:
    found = looks(r1=9, r2=7, r3=0)
    found["r1"]["primary"] = {"address": "10.0.0.1", "epoch": 1}
    found["r3"]["primary"] = {"address": "10.0.0.3", "epoch": 2}
    assert redis.primary(found, HOSTS) == "10.0.0.3"


def test_two_with_data_are_a_question_for_a_human() -> None:
    with pytest.raises(redis.Undecided, match="r1, r3 each hold data of their own"):
        redis.primary(looks(r1=1, r2=0, r3=1), HOSTS)


def test_copies_hold_no_data_of_their_own() -> None:
    found = looks(r1=5, r2=5, r3=5)
    found["r1"]["role"] = found["r2"]["role"] = "slave"
    assert redis.primary(found, HOSTS) == "10.0.0.3"


def test_without_sentinels_every_host_must_be_looked_at() -> None:
    with pytest.raises(redis.Undecided, match="r3 is not part of this run"):
        redis.primary(looks(r1=0, r2=0), HOSTS)


def test_what_a_redis_says_of_itself() -> None:
    look = redis.read_info(INFO.replace("\n", "\r\n"))
    assert look == redis.Look("slave", 7, "10.0.0.1", "up")
    assert look.is_right("10.0.0.2", "10.0.0.1")
    assert not look.is_right("10.0.0.2", "10.0.0.3")
    assert not redis.read_info(INFO.replace("link_status:up", "link_status:down")).is_right("10.0.0.2", "10.0.0.1")


@pytest.mark.parametrize(
    ("look", "was", "may"),
    [
        (redis.Look("master", 0), "", True),
        (redis.Look("master", 1), "", False),
        (redis.Look("master", 1), "master", False),
        (redis.Look("master", 1), "slave", True),  # it was a copy until it was restarted
        (redis.Look("slave", 9, "10.0.0.3", "up"), "", True),
        (redis.Look("slave", 9, "10.0.0.1", "down"), "", False),  # it is on its way
    ],
)
def test_who_may_become_a_copy(look: redis.Look, was: str, may: bool) -> None:
    assert look.may_follow("10.0.0.2", "10.0.0.1", was) is may
    assert not look.may_follow("10.0.0.1", "10.0.0.1", was), "the primary"
    assert "keys of its own" in look.complaint("10.0.0.2", "10.0.0.1", 9) or look.role == "slave"


def test_what_a_sentinel_says() -> None:
    said = "name\ncelery\nip\n10.0.0.2\nport\n6379\nflags\nmaster\nconfig-epoch\n4\n"
    assert redis.sentinels_answer(said) == {"address": "10.0.0.2", "epoch": 4}
    assert redis.sentinels_answer("") is None


def test_five_hosts_need_three_votes_and_two_copies() -> None:
    plan = redis.replicas([*HOSTS, *HOSTS[:2]], broker=True)
    assert (plan["majority"], plan["min_replicas"]) == (3, 2)
    alone = redis.replicas(HOSTS[:1], broker=False)
    assert (alone["majority"], alone["min_replicas"]) == (0, 0)
