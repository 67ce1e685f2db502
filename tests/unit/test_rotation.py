# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation of passwords: when it may begin, what is left of the generations before, and who is still there."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import rotation
from ansible_collections.celeryops.stack.plugins.module_utils.plan import make_plan
from ansible_collections.celeryops.stack.plugins.module_utils.rabbitmq import password_hash

OLD, NEW = "old-password-of-a-test", "new-password-of-a-test"
PASSWORDS = {
    "celery_broker_password": NEW,
    "celery_producer_password": NEW,
    "celery_monitor_password": NEW,
    "celery_result_password": NEW,
}


def plan(generation: int) -> dict[str, Any]:
    declared = {"celery_app": "a:b", "celery_workers": {"default": {}}, "celery_producer_user": "producer"}
    return make_plan({**declared, "celery_generation": generation})


def rabbitmq(**users: str) -> rotation.Present:
    hashed = [{"name": name.replace("_", "-"), "password_hash": password_hash(word)} for name, word in users.items()]
    return rotation.in_rabbitmq({"users": hashed})


def redis(**users: str) -> rotation.Present:
    lines = [
        f"user {name.replace('_', '-')} on #{hashlib.sha256(word.encode()).hexdigest()} ~*"
        for name, word in users.items()
    ]
    return rotation.in_redis("\n".join(["user default off", *lines]))


def half_done(generation: int, present: rotation.Present) -> list[str]:
    return rotation.half_done("RabbitMQ", plan(generation)["broker"]["users"], PASSWORDS, generation, present)


@pytest.mark.parametrize(
    ("generation", "present"),
    [
        (1, rabbitmq()),  # a fresh host
        (1, rabbitmq(celery=NEW, producer=NEW, monitor=NEW)),  # nothing to do
        (2, rabbitmq(celery=OLD, producer=OLD, monitor=OLD)),  # the beginning
        (2, rabbitmq(celery=OLD, producer=OLD, monitor=OLD, celery_2=NEW)),  # it was interrupted
        (2, rabbitmq(celery_2=NEW, producer_2=NEW, monitor_2=NEW, producer=OLD)),  # producers have yet to move
        (2, rabbitmq(celery=OLD, celery_stage=OLD)),
    ],
)
def test_it_may_begin_or_go_on(generation: int, present: rotation.Present) -> None:
    assert half_done(generation, present) == []


def test_a_new_password_of_the_same_user_would_lock_its_clients_out() -> None:
    (problem,) = half_done(1, rabbitmq(celery=OLD, producer=NEW, monitor=NEW))
    assert problem.startswith("celery_broker_password is not the password that RabbitMQ has for celery")
    assert "write celery_generation: 2" in problem
    (problem,) = half_done(2, rabbitmq(celery=OLD, celery_2=NEW, producer_2=NEW, monitor_2=OLD))
    assert problem.startswith("celery_monitor_password is not the password that RabbitMQ has for monitor-2")
    assert "write celery_generation: 3" in problem
    assert OLD not in problem
    assert NEW not in problem


def test_generations_go_forwards() -> None:
    (problem,) = half_done(2, rabbitmq(celery=OLD, celery_3=OLD))
    assert "celery_generation is 2, but RabbitMQ has celery-3 already" in problem


def test_redis_is_treated_alike() -> None:
    users = plan(2)["redis_users"]
    assert rotation.half_done("Redis", users, PASSWORDS, 2, redis(results=OLD)) == []
    (problem,) = rotation.half_done("Redis", users, PASSWORDS, 2, redis(results_2=OLD))
    assert "celery_result_password is not the password that Redis has for results-2" in problem


def test_what_is_missing_and_what_is_left() -> None:
    users = plan(3)["broker"]["users"]
    present = rabbitmq(celery_3=NEW, producer_3=NEW, monitor_3=NEW, monitor=OLD, producer_2=OLD, admin=OLD, other=OLD)
    assert rotation.missing(users, present) == []
    assert rotation.left_over(users, present) == ["producer-2", "monitor"]
    assert rotation.missing(users, rabbitmq(celery_3=NEW)) == ["producer-3", "monitor-3"]


def test_who_is_still_connected() -> None:
    connections = [
        {"user": "celery", "peer_host": [10, 0, 0, 7]},
        {"user": "celery", "peer_host": [10, 0, 0, 7]},
        {"user": "celery-2", "peer_host": "10.0.0.8"},
    ]
    used = rotation.still_used(connections, ["celery", "monitor"])
    assert used is not None
    assert "celery (2 connections from 10.0.0.7)" in used
    assert "10.0.0.8" not in used
    assert rotation.still_used(connections, ["monitor"]) is None
