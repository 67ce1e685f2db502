# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be drained, and how workers are kept away."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.drain import drain_files, drain_report
from ansible_collections.celeryops.stack.plugins.module_utils.plan import make_plan
from ansible_collections.celeryops.stack.plugins.module_utils.rules.drain import problems

WORKERS: dict[str, Any] = {"Mail_out": {}, "bulk": {"queues": ["images", "reports"]}, "default": None}
VALUES = {"hosts": ["web1", "web2"], "workers": WORKERS}


@pytest.mark.parametrize("asked", [{"host": "web1"}, {"queue": "default"}])
def test_accepts(asked: dict[str, str]) -> None:
    assert problems({**VALUES, **asked}) == []


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "neither host nor queue is set"),
        ({"host": "web1", "queue": "default"}, "both host and queue are set"),
        ({"host": "db1"}, "host is 'db1', which is not in the inventory group 'worker'; write one of web1, web2"),
        ({"queue": "defualt"}, "which no entry of celery_workers consumes (did you mean 'default'?)"),
        ({"queue": "images"}, "whose worker 'bulk' also consumes reports"),
    ],
)
def test_refuses(asked: dict[str, str], sentence: str) -> None:
    [said] = problems({**VALUES, **asked})
    assert sentence in said


def paths(files: list[dict[str, Any]], state: str) -> list[str]:
    return [file["path"] for file in files if file.get("state", "file") == state]


def test_files_are_the_ones_that_the_units_look_at() -> None:
    plan = make_plan({"celery_app": "shop", "celery_workers": WORKERS})
    assert paths(drain_files(plan, "/etc/celery"), "file") == ["/etc/celery/drained/host"]
    assert paths(drain_files(plan, "/etc/celery", "Mail_out"), "file") == ["/etc/celery/drained/worker-mail-out"]
    assert paths(drain_files(plan, "/etc/celery", "default", "true"), "absent") == [
        "/etc/celery/drained/worker-default"
    ]
    assert paths(drain_files(plan, "/etc/celery", back=True), "absent") == [
        "/etc/celery/drained/host",
        "/etc/celery/drained/worker-mail-out",
        "/etc/celery/drained/worker-bulk",
        "/etc/celery/drained/worker-default",
    ]


def test_reports() -> None:
    assert drain_report({"held": ["a"], "started": []}) == (
        "drained, nothing runs in a; what waits for them stays on the broker"
    )
    assert drain_report({"held": [], "started": ["a", "b"]}) == "a, b consume again"
    assert drain_report({"held": [], "started": []}) == "every worker of this host consumes, as before"


def test_a_dry_run_says_so() -> None:
    assert "only the files are shown" in drain_report({"held": [], "started": ["a"]}, check_mode=True)
