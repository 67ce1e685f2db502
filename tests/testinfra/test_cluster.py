# SPDX-License-Identifier: GPL-3.0-or-later
"""Several brokers are one cluster, and every queue is on all of them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from verification.facts import Deployment
from verification.node import Node

pytestmark = [pytest.mark.on("broker"), pytest.mark.cluster]


@pytest.fixture
def status(node: Node) -> Any:
    """The cluster as this node sees it."""
    return json.loads(node.output("rabbitmqctl --quiet cluster_status --formatter json"))


def test_all_nodes_are_members_run_and_see_each_other(node: Node, status: Any) -> None:
    wanted = {entry["name"] for entry in node.host["rabbitmq_nodes"]}
    assert len(wanted) == len(node.host["rabbitmq_nodes"]) > 1
    assert set(status["disk_nodes"]) == set(status["running_nodes"]) == wanted
    assert not status["partitions"]
    assert not status["alarms"]
    assert set(status["maintenance_status"].values()) == {"not under maintenance"}


def test_every_queue_has_a_member_on_every_node(node: Node) -> None:
    broker = node.host.plan["broker"]
    wanted = {entry["name"] for entry in node.host["rabbitmq_nodes"]}
    command = "rabbitmqctl --quiet list_queues --vhost %s --formatter json name members online"
    found = {row["name"]: row for row in json.loads(node.output(command, broker["vhost"]))}
    planned = {queue["name"] for queue in broker["objects"]["queues"]}
    assert planned <= set(found)
    for key in ("members", "online"):
        short = {name: found[name][key] for name in planned if set(found[name][key]) != wanted}
        assert not short, f"{key} of {len(short)} of {len(planned)} queues: {dict(list(short.items())[:3])}"


def test_a_part_without_the_majority_stops(node: Node) -> None:
    answer = node.output("rabbitmqctl --quiet eval %s", "application:get_env(rabbit, cluster_partition_handling).")
    assert answer.strip() == "{ok,pause_minority}"


def test_the_cookie_is_the_secret_one(node: Node) -> None:
    path = "/var/lib/rabbitmq/.erlang.cookie"
    file = node.shell.file(path)
    assert (file.user, file.group, file.mode) == ("rabbitmq", "rabbitmq", 0o400)
    assert file.content_string.strip() == node.host["rabbitmq_erlang_cookie"]


def test_clients_know_every_node(node: Node, deployment: Deployment) -> None:
    """And not all of them try the same one first."""
    addresses = {entry["address"] for entry in node.host["rabbitmq_nodes"]}
    urls = [host.plan["broker"]["url"] for host in deployment.members("worker")]
    orders = [tuple(re.findall(r"@([^:;]+):", url)) for url in urls]
    assert all({*order} == addresses or "127.0.0.1" in order for order in orders)
    assert len({order[0] for order in orders}) == min(len(orders), len(addresses))
