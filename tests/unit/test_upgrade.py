# SPDX-License-Identifier: GPL-3.0-or-later
"""Which upgrades of RabbitMQ are refused."""

from __future__ import annotations

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.upgrade import hop_problem, parse, state_problems

WELL = {
    "alarms": [],
    "partitions": {},
    "disk_nodes": ["rabbit@a", "rabbit@b"],
    "running_nodes": ["rabbit@a", "rabbit@b"],
}


@pytest.mark.parametrize(
    ("installed", "wanted"),
    [("4.0.5-8", "4.0.5-8+deb13u1"), ("4.0.5-8", "4.2.1-1"), ("3.13.7-1", "4.1.0-1"), ("3.10.8-1", "3.11.28-1")],
)
def test_supported_steps(installed: str, wanted: str) -> None:
    assert hop_problem(installed, wanted) is None


@pytest.mark.parametrize(
    ("installed", "wanted", "says"),
    [
        ("4.1.0-1", "4.0.5-8", "4.0.5-8 is older than 4.1.0-1, and RabbitMQ cannot go back"),
        ("4.0.5-8", "4.0.4-1", "4.0.4-1 is older than 4.0.5-8, and RabbitMQ cannot go back"),
        ("3.10.8-1", "4.0.5-8", "From 3.10.8-1 to 4.0.5-8 no step is supported: go to 3.13 first"),
        ("3.12.14-1", "4.0.5-8", "From 3.12.14-1 to 4.0.5-8 no step is supported: go to 3.13 first"),
        ("3.10.8-1", "3.12.14-1", "versions are left out: go to 3.11 first"),
    ],
)
def test_unsupported_steps(installed: str, wanted: str, says: str) -> None:
    assert says in str(hop_problem(installed, wanted))


def test_a_step_back_that_the_numbers_do_not_show() -> None:
    """Of one version of RabbitMQ there are several packages."""
    assert hop_problem("4.0.5-8+deb13u1", "4.0.5-8") is None
    assert "4.0.5-8 is older than 4.0.5-8+deb13u1" in str(hop_problem("4.0.5-8+deb13u1", "4.0.5-8", older=True))


def test_versions() -> None:
    assert parse("1:4.0.5-8+b1") == (4, 0, 5)
    with pytest.raises(ValueError, match="no version of RabbitMQ"):
        parse("unknown")


def test_a_cluster_that_is_not_well() -> None:
    assert state_problems(WELL, []) == []
    (said,) = state_problems(
        {**WELL, "alarms": [{"type": "resource_limit", "resource": "disk", "node": "rabbit@a"}]}, []
    )
    assert said.startswith("There are alarms (disk on rabbit@a)")
    (said,) = state_problems({**WELL, "partitions": {"rabbit@a": ["rabbit@b"]}}, [])
    assert said.startswith("The cluster is partitioned (rabbit@a)")
    (said,) = state_problems({**WELL, "running_nodes": ["rabbit@a"]}, [])
    assert said.startswith("rabbit@b does not run")
    (said,) = state_problems(WELL, ["khepri_db"])
    assert "Feature flags of this version are not enabled (khepri_db)" in said
