# SPDX-License-Identifier: GPL-3.0-or-later
"""The running workers are what the plan says: their own report, not a file's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from verification import expected
from verification.background import Background
from verification.node import Node

pytestmark = pytest.mark.on("worker")
#: How the report shows a setting whose name sounds secret.
MASKED = "********"


@pytest.fixture
def said(background: Background, worker: dict[str, Any]) -> dict[str, Any]:
    """What this test's worker says of itself."""
    assert background.report
    report = background.report.result()
    node = worker["node"]
    assert node in report["stats"], f"{node} does not answer; these do: {', '.join(sorted(report['stats'])) or 'none'}"
    return {question: answers[node] for question, answers in report.items()}


def test_pool(node: Node, worker: dict[str, Any], said: dict[str, Any]) -> None:
    pool = said["stats"]["pool"]
    assert f".{worker['pool']}:" in pool["implementation"].replace("thread:", "threads:")
    assert pool["max-concurrency"] == worker["concurrency"]
    if worker["pool"] == "prefork":
        assert pool["timeouts"] == [worker["soft_time_limit"], worker["time_limit"]]
        assert pool["max-tasks-per-child"] == worker["max_tasks_per_child"]


def test_prefetch(node: Node, worker: dict[str, Any], said: dict[str, Any]) -> None:
    planned = worker["concurrency"] * worker["prefetch_multiplier"]
    if node.host.plan["broker"]["kind"] == "redis":  # where tasks wait for their time in the worker, besides
        assert said["stats"]["prefetch_count"] >= planned
    else:
        assert said["stats"]["prefetch_count"] == planned


def test_queues(node: Node, worker: dict[str, Any], said: dict[str, Any]) -> None:
    declared = {queue["name"]: queue for queue in node.host.plan["settings"]["task_queues"]}
    consumed = {queue["name"]: queue for queue in said["active_queues"]}
    assert set(consumed) == set(worker["queues"])
    for name, queue in consumed.items():
        planned = declared[name]
        found = {
            "name": queue["name"],
            "exchange": queue["exchange"]["name"],
            "exchange_type": queue["exchange"]["type"],
            "routing_key": queue["routing_key"],
            "queue_arguments": queue["queue_arguments"] or {},
        }
        assert found == planned


def test_settings(node: Node, worker: dict[str, Any], said: dict[str, Any]) -> None:
    """Every setting of the plan is in force: late acknowledgement, confirms, serializers, time-outs ..."""
    planned = expected.settings(node.host, worker)
    structured = ("task_queues", "task_routes")  # compared as queues, and by where tasks arrive
    for name in ("broker_transport_options", "result_backend_transport_options"):
        if isinstance(options := said["conf"].get(name), dict) and "sentinel_kwargs" in options:
            # A login is not in the plan, and its secret must be masked.
            assert options["sentinel_kwargs"].pop("password") == MASKED
            del options["sentinel_kwargs"]["username"]
    differing = [
        f"{name} is {said['conf'].get(name)!r}, planned {wanted!r}"
        for name, wanted in planned.items()
        if name not in structured and said["conf"].get(name) not in (wanted, MASKED)
    ]
    assert not differing, f"{worker['node']}: {'; '.join(differing)}"


def test_tells_no_secret(node: Node, worker: dict[str, Any], said: dict[str, Any]) -> None:
    """Whatever the application calls the setting that holds it."""
    text = json.dumps(said)
    told = sorted(name for name, secret in node.host.secrets.items() if json.dumps(secret)[1:-1] in text)
    assert not told, f"{worker['node']} answers an inspect command with {', '.join(told)}"


def test_runs_as_the_process_that_systemd_watches(node: Node, worker: dict[str, Any], said: dict[str, Any]) -> None:
    assert str(said["stats"]["pid"]) == node.at_start[worker["name"]]["MainPID"]
