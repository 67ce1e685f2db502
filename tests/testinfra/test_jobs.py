# SPDX-License-Identifier: GPL-3.0-or-later
"""Real tasks of the example application, through every queue and every kind of trouble."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from verification.background import Background
from verification.facts import Deployment
from verification.node import Node
from verification.talking import Web
from verification.waiting import poll

#: syslog's number for a warning.
WARNING = "4"

pytestmark = [pytest.mark.shop, pytest.mark.on("worker", first=True)]


def outcomes(background: Background, command: str) -> dict[str, list[dict[str, Any]]]:
    """The outcomes of one of the shop's commands by task; the shop itself must be content with them."""
    code, found, complaints = background.shop[command].result()
    assert code == 0, complaints
    tasks: dict[str, list[dict[str, Any]]] = {}
    for outcome in found:
        tasks.setdefault(outcome["task"].removeprefix("shop.tasks."), []).append(outcome)
    return tasks


def entries(node: Node, task_id: str) -> list[dict[str, Any]]:
    """The journal's entries about one task."""
    text = node.output("journalctl --boot --output=json CELERY_TASK_ID=%s", task_id)
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.one_store
class TestOrders:
    def test_an_order_passes_through_every_queue(self, node: Node, background: Background) -> None:
        steps = outcomes(background, "submit")
        took = {task: {outcome["queue"] for outcome in found} for task, found in steps.items()}
        assert took == {"charge_order": {"critical"}, "send_confirmation": {"default"}, "index_order": {"bulk"}}

    def test_each_step_ran_on_a_worker_of_its_queue(self, node: Node, background: Background) -> None:
        consuming = {unit["node"]: unit["queues"] for unit in node.host.plan["units"]}
        for found in outcomes(background, "submit").values():
            for outcome in found:
                assert outcome["queue"] in consuming[outcome["worker"]], f"{outcome['task']} ran on {outcome['worker']}"

    def test_what_fails_twice_succeeds_at_the_third_attempt(self, node: Node, background: Background) -> None:
        """By ``autoretry_for`` (charge_order) and by hand (send_confirmation)."""
        steps = outcomes(background, "submit")
        for task in ("charge_order", "send_confirmation"):
            assert sorted(outcome["retries"] for outcome in steps[task]) == [0, 2]

    def test_a_chord_over_three_queues_completes(self, node: Node, background: Background) -> None:
        found = outcomes(background, "totals")
        assert {task: outcome["outcome"] for task, (outcome,) in found.items()} == dict.fromkeys(
            ("count_orders", "sum_payments", "publish_totals"), "succeeded"
        )

    def test_a_slow_task_recovers_at_its_soft_limit(self, node: Node, background: Background) -> None:
        (report,) = outcomes(background, "limits")["build_report"]
        assert report["outcome"] == "recovered"
        warnings = [entry for entry in entries(node, report["task_id"]) if entry["PRIORITY"] == WARNING]
        assert any(entry["LOGGER"] == "shop.tasks" for entry in warnings), "the task did not say that its time is up"

    def test_a_stubborn_task_dies_at_its_hard_limit_and_its_worker_lives(
        self, node: Node, background: Background
    ) -> None:
        (export,) = outcomes(background, "limits")["stubborn_export"]
        assert (export["outcome"], export["error"].split(":")[0]) == ("killed", "TimeLimitExceeded")
        (unit,) = (unit["name"] for unit in node.host.plan["units"] if unit["node"] in _nodes(node, export["task_id"]))
        assert node.units()[unit]["MainPID"] == node.at_start[unit]["MainPID"], f"{unit} was restarted"


def _nodes(node: Node, task_id: str) -> set[str]:
    return {entry["CELERY_NODE"] for entry in entries(node, task_id) if "CELERY_NODE" in entry}


@pytest.mark.bulk_apart
def test_a_full_bulk_queue_does_not_delay_critical(node: Node, background: Background) -> None:
    load = background.shop["load"].result()
    assert load["left_when_urgent_was_done"] > 0, f"critical waited for bulk: {load['urgent_seconds']} s"


@pytest.mark.rabbitmq
def test_delayed_tasks_wait_on_the_broker_and_hold_nobody_up(node: Node, background: Background) -> None:
    load = background.shop["load"].result()
    assert load["behind_seconds"] < load["delay"], f"a task waited {load['behind_seconds']:.1f} s behind delayed ones"
    assert load["delayed_left"] == len(load["delayed_seconds"]), "delayed tasks were over when the one behind them was"
    assert load["held"] == 0, f"the workers hold {load['held']} delayed tasks"
    early = [seconds for seconds in load["delayed_seconds"] if seconds < load["delay"] - 0.5]
    assert not early, f"delayed by {load['delay']} s but back after {early}"


class TestJournal:
    @pytest.fixture
    def task(self, background: Background) -> dict[str, str]:
        found: dict[str, str] = background.shop["load"].result()["task"]
        return found

    @pytest.fixture
    def lines(self, deployment: Deployment, nodes: dict[str, Node], task: dict[str, str]) -> list[dict[str, Any]]:
        """Its entries, on whichever host it ran."""
        hosts = [nodes[host.name] for host in deployment.members("worker")]
        return poll(lambda: [entry for host in hosts for entry in entries(host, task["id"])], 5)

    def test_lines_carry_name_and_id(self, node: Node, task: dict[str, str], lines: list[dict[str, Any]]) -> None:
        assert lines, f"the journal knows nothing of the task {task['id']}"
        for line in lines:
            assert line["CELERY_TASK_NAME"] == task["name"]
            assert task["name"] in line["MESSAGE"], line["MESSAGE"]
            assert task["id"] in line["MESSAGE"], line["MESSAGE"]

    def test_the_task_s_own_lines_are_there(self, node: Node, lines: list[dict[str, Any]]) -> None:
        loggers = {line["LOGGER"] for line in lines}
        assert any(logger.startswith("shop.") for logger in loggers), f"only {sorted(loggers)} wrote"

    def test_they_stand_under_the_unit_of_their_queue(
        self, node: Node, deployment: Deployment, task: dict[str, str], lines: list[dict[str, Any]]
    ) -> None:
        units = {
            u["name"] for h in deployment.members("worker") for u in h.plan["units"] if task["queue"] in u["queues"]
        }
        assert {line["_SYSTEMD_UNIT"] for line in lines} <= units


@pytest.mark.tracked
def test_a_failure_reaches_the_tracker_with_its_stack_trace(
    node: Node, background: Background, first: Callable[[str], Node]
) -> None:
    failing = background.shop["load"].result()["failing"]
    assert failing["failure"], "the task that must fail succeeded"
    tracker = first("tracker")
    web = Web(tracker.reach("bugsink")).with_token(tracker.host["bugsink_api_token"])
    event = poll(lambda: find_event(web, tracker.host["bugsink_project_id"], failing["id"]), 20, pause=0.5)
    assert event, f"no event of task {failing['id']} in Bugsink"
    text = json.dumps(event)
    assert failing["name"] in text
    assert failing["failure"] in text
    frames = [
        frame["function"]
        for exception in event["data"]["exception"]["values"]
        for frame in exception["stacktrace"]["frames"]
    ]
    assert failing["name"].rpartition(".")[2] in frames
    assert event["data"]["environment"] == node.host["celery_sentry_environment"]


def find_event(web: Web, project: int, task_id: str) -> dict[str, Any]:
    """The event of one task, among the latest."""
    api = "/api/canonical/0"
    for issue in web.get(f"{api}/issues/?project={project}&sort=last_seen&order=desc")["results"][:5]:
        for listed in web.get(f"{api}/events/?issue={issue['id']}&order=desc")["results"][:5]:
            event: dict[str, Any] = web.get(f"{api}/events/{listed['id']}/")
            if task_id in json.dumps(event):
                return event
    return {}


def test_messages_are_plain_json(node: Node, background: Background) -> None:
    """As they went over the wire: ids, numbers and texts."""
    messages = background.shop["load"].result()["messages"]
    assert messages
    assert {(m["content_type"], m["content_encoding"]) for m in messages} == {("application/json", "utf-8")}
    arguments = [argument for message in messages for argument in json.loads(message["body"])[0]]
    assert all(isinstance(argument, str | int | float) for argument in arguments), arguments


@pytest.mark.one_store
@pytest.mark.on("beat")
def test_beat_fires_exactly_once_a_tick(node: Node, background: Background) -> None:
    found = background.shop["ticks"].result()
    assert len(found["new"]) > 1, f"{len(found['new'])} ticks came within {found['waited']:.0f} s"
    times = [datetime.fromisoformat(tick["at"]) for tick in found["new"]]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert all(abs(gap - found["every"]) < found["every"] / 3 for gap in gaps), f"{gaps} s between ticks"
