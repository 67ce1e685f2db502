# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever may look at Flower sees all there is to see."""

from __future__ import annotations

import json

import pytest
from verification.background import Background
from verification.node import Node
from verification.talking import Web
from verification.waiting import poll

pytestmark = [pytest.mark.on("monitor"), pytest.mark.flower_login]


@pytest.fixture
def flower(node: Node) -> Web:
    """Flower for its user."""
    return Web(node.reach("flower")).as_user(node.host["flower_user"], node.host["flower_password"])


def test_shows_every_worker_of_the_plan(node: Node, flower: Web) -> None:
    wanted = set(node.host.plan["nodes"])

    def alive() -> set[str]:
        return {name for name, alive in flower.get("/api/workers?status=1").items() if alive}

    poll(lambda: wanted <= alive(), 15, pause=1)
    seen = alive()
    assert wanted <= seen, f"Flower does not hear of {', '.join(sorted(wanted - seen))}"


def test_shows_no_secret(node: Node, flower: Web) -> None:
    """Among what the workers tell it of their configuration, which its pages and its API show."""
    told = flower.get("/api/workers?refresh=1")
    assert all(told.get(name, {}).get("conf") for name in node.host.plan["nodes"]), f"Flower knows {sorted(told)} only"
    text = json.dumps(told)
    shown = sorted(name for name, secret in node.host.secrets.items() if json.dumps(secret)[1:-1] in text)
    assert not shown, f"Flower shows {', '.join(shown)}"


@pytest.mark.rabbitmq
def test_shows_how_long_the_queues_are(node: Node, flower: Web) -> None:
    """As RabbitMQ's management API says, over TLS where there is TLS."""
    wanted = set(node.host.plan["broker"]["queues"])

    def seen() -> set[str]:
        return {queue["name"] for queue in flower.get("/api/queues/length")["active_queues"]}

    assert poll(lambda: wanted <= seen(), 15, pause=1), f"Flower knows the lengths of {sorted(seen())} only"


@pytest.mark.shop
def test_shows_a_task_that_ran(node: Node, flower: Web, background: Background) -> None:
    task = background.shop["load"].result()["task"]
    found = poll(lambda: flower.ask(f"/api/task/info/{task['id']}").status == 200, 10)
    assert found, f"Flower does not know the task {task['id']}"
    info = flower.get(f"/api/task/info/{task['id']}")
    assert (info["name"], info["state"]) == (task["name"], "SUCCESS")
