# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on the broker is what the plan declares."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from verification import expected
from verification.background import Background
from verification.facts import Deployment
from verification.node import Node
from verification.talking import Web
from verification.waiting import poll

pytestmark = [pytest.mark.on("broker", first=True), pytest.mark.rabbitmq]
KINDS = ("exchanges", "queues", "bindings", "policies")


@pytest.fixture(scope="session")
def management(first: Callable[[str], Node]) -> Web:
    """The management API as the administrator."""
    node = first("broker")
    return Web(node.reach("management")).as_user(node.host["rabbitmq_admin_user"], node.host["rabbitmq_admin_password"])


@pytest.fixture(scope="session")
def definitions(management: Web, deployment: Deployment) -> Any:
    """All that is declared."""
    return expected.without_retired(management.get("/api/definitions"), deployment.plan["broker"])


@pytest.mark.parametrize("kind", KINDS)
def test_everything_planned_is_there(node: Node, definitions: Any, kind: str) -> None:
    planned = node.host.plan["broker"]["objects"][kind]
    missing = [thing for thing in planned if expected.lacking(thing, definitions[kind])]
    assert planned
    assert not missing, f"the broker lacks {len(missing)} of {len(planned)} {kind}: {missing[:3]}"


def test_no_task_can_go_astray(node: Node, definitions: Any) -> None:
    """No queue gets what is sent to another one."""
    broker = node.host.plan["broker"]
    strays = {
        binding["destination"]
        for binding in definitions["bindings"]
        if binding["vhost"] == broker["vhost"] and binding["source"] == broker["exchange"]
        if not expected.by_own_name(binding)
    }
    assert not strays, f"the exchange {broker['exchange']} also delivers to {', '.join(sorted(strays))}"


def test_queues_are_safe_and_consumed(node: Node, deployment: Deployment, management: Web) -> None:
    """Quorum queues, running, each under its one policy, with exactly the planned number of consumers."""
    broker = node.host.plan["broker"]
    wanted = {**expected.consumers(deployment), broker["dead_letter_queue"]: 0}
    policies = {
        queue: policy
        for queue in wanted
        for policy in broker["objects"]["policies"]
        if re.match(policy["pattern"], queue)
    }

    def faults() -> list[str]:
        queues = {queue["name"]: queue for queue in management.get(f"/api/queues/{quote(broker['vhost'], safe='')}")}
        return [
            f"{name}: {key} is {queues.get(name, {}).get(key)!r}, planned {value!r}"
            for name, policy in policies.items()
            for key, value in {
                "type": "quorum",
                "state": "running",
                "durable": True,
                "policy": policy["name"],
                "effective_policy_definition": policy["definition"],
                "consumers": wanted[name],
            }.items()
            if queues.get(name, {}).get(key) != value
        ]

    assert set(policies) == {*broker["queues"], broker["dead_letter_queue"]}
    # The management API counts every five seconds.
    poll(lambda: not faults(), 12, pause=1)
    assert not (found := faults()), "; ".join(found)


def test_users_are_exactly_the_declared_ones(node: Node, definitions: Any) -> None:
    def tags(user: Any) -> set[str]:
        given = user["tags"]
        return {tag for tag in (given.split(",") if isinstance(given, str) else given) if tag}

    planned = {user["name"]: set(user["tags"]) for user in node.host.plan["broker"]["users"]}
    found = {user["name"]: tags(user) for user in definitions["users"]}
    former = expected.former_users(node.host)
    assert {name: given for name, given in found.items() if name not in former} == {
        node.host["rabbitmq_admin_user"]: {"administrator"},
        **planned,
    }


def test_rights_are_exactly_the_declared_ones(node: Node, definitions: Any) -> None:
    vhost = node.host.plan["broker"]["vhost"]
    rights = [each for each in definitions["permissions"] if each["user"] not in expected.former_users(node.host)]
    found = {(r["user"], r["configure"], r["write"], r["read"]) for r in rights if r["vhost"] == vhost}
    assert found == expected.permissions(node.host)
    elsewhere = {(r["user"], r["vhost"]) for r in rights if r["vhost"] != vhost}
    assert {user for user, _rights in elsewhere} <= {node.host["rabbitmq_admin_user"]}, f"rights elsewhere: {elsewhere}"


def test_no_delivery_is_taken_away_from_a_long_task(node: Node, background: Background) -> None:
    assert background.consumer_timeout
    assert int(background.consumer_timeout.result()) == node.host.plan["broker"]["consumer_timeout"]


def test_a_client_that_died_without_a_word_is_noticed(node: Node) -> None:
    """The kernel asks after every client, also those that have no heartbeat."""
    port = node.host["rabbitmq_port"]
    clients = node.output("ss -Htno state established sport = :%s", str(port)).splitlines()
    assert clients
    assert not [line for line in clients if "timer:" not in line]
