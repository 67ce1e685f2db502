# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis that could not keep its promise ends in one clear sentence, and leaves a real host exactly as it was.

Run by molecule against hosts on which nothing is deployed yet:
    pytest tests/bad_inputs/test_redis.py --inventory=molecule/redis/inventory --machine=redis/redis1
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def topology(*names: str) -> dict[str, Any]:
    """These hosts with Redis."""
    hosts = [{"name": name, "address": f"10.0.0.{number}"} for number, name in enumerate(names, 1)]
    return {"broker": hosts, "backend": hosts, "worker": hosts[:1], "beat": hosts[:1], "monitor": hosts[:1]}


#: What is wrong, the variables that make it so, and what the sentence must say: the variable and the remedy.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no majority of the Sentinels": (
        {"redis_sentinel_quorum": 1},
        ["redis_sentinel_quorum is 1, no majority of 3 Sentinels: write 2"],
    ),
    "more votes than there are Sentinels": (
        {"redis_sentinel_quorum": 4},
        ["redis_sentinel_quorum is 4, but there are 3 Sentinels, so no replica could ever take over: write 2"],
    ),
    "two hosts": (
        {"celery_topology": topology("redis1", "redis2")},
        ["the inventory group 'broker' holds 2 hosts of Redis (redis1, redis2)", "put 3 hosts into it, or 1"],
    ),
    "four hosts": (
        {"celery_topology": topology("redis1", "redis2", "redis3", "redis4")},
        ["neither half is a majority and no replica takes over; put 5 hosts into it, or 3"],
    ),
    "no password for Sentinel": (
        {"redis_sentinel_password": ""},
        ["redis_sentinel_password is empty: set it, from a vault, to 12 characters or more"],
    ),
    "no password for the workers": (
        {"celery_broker_password": ""},
        ["celery_broker_password", "the password of celery"],
    ),
    "a setting of RabbitMQ": (
        {"celery_settings": {"worker_detect_quorum_queues": True}},
        ["celery_settings.worker_detect_quorum_queues is about RabbitMQ", "write 'celery_broker: rabbitmq'"],
    ),
    "a visibility time-out of one's own": (
        {"celery_settings": {"broker_transport_options": {"visibility_timeout": 10}}},
        ["celery_settings.broker_transport_options may not be set here; remove it"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, refuses: Callable[..., None]) -> None:
    refuses(*REFUSED[name])
