# SPDX-License-Identifier: GPL-3.0-or-later
"""Which upgrades of RabbitMQ are refused."""

from __future__ import annotations

from itertools import product

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.upgrade import (
    hop_problem,
    parse,
    state_problems,
    store_problem,
)

WELL = {
    "alarms": [],
    "partitions": {},
    "disk_nodes": ["rabbit@a", "rabbit@b"],
    "running_nodes": ["rabbit@a", "rabbit@b"],
}


SERIES = ["3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "4.0", "4.1", "4.2", "4.3"]
#: What RabbitMQ supports, written by hand once more.
SUPPORTED = {
    ("3.7", "3.8"),
    ("3.8", "3.9"),
    ("3.9", "3.10"),
    ("3.10", "3.11"),
    ("3.11", "3.12"),
    ("3.12", "3.13"),
    ("3.13", "4.0"),
    ("3.13", "4.1"),
    ("3.13", "4.2"),
    ("4.0", "4.1"),
    ("4.0", "4.2"),
    ("4.1", "4.2"),
    ("4.2", "4.3"),
}


@pytest.mark.parametrize(("old", "new"), [*product(SERIES, SERIES)])
def test_every_step_of_the_table(old: str, new: str) -> None:
    problem = hop_problem(f"{old}.28-1", f"{new}.28-1")
    if old == new or (old, new) in SUPPORTED:
        assert problem is None
    elif SERIES.index(new) < SERIES.index(old):
        assert f"leads to {new}.28-1, which is older than {old}.28-1, and RabbitMQ cannot go back" in str(problem)
    else:
        assert "does not support in one step: set it to" in str(problem)
    assert problem is None or ("rabbitmq_version" in problem and "docs/runbooks/switch-broker.md" in problem)


@pytest.mark.parametrize(
    ("installed", "wanted", "way"),
    [
        ("3.10.8-1.1+deb12u1", "4.0.5-8", "3.11., then to 3.12., then to 3.13., then to 4.0."),
        ("3.12.14-1", "4.0.5-8", "3.13., then to 4.0."),
        ("3.13.7-1", "4.3.0-1", "4.2., then to 4.3."),
        ("4.0.5-8", "4.3.6-2", "4.2., then to 4.3."),
        ("4.1.4-1", "4.3.0-1", "4.2., then to 4.3."),
        ("3.11.17-1", "3.12.14-1", "3.11., then to 3.12."),
        ("3.11.5-1", "3.13.7-1", "3.11., then to 3.12., then to 3.13."),
        ("3.11.18-1", "3.13.7-1", "3.12., then to 3.13."),
        ("3.7.17-1", "3.8.0-1", "3.7., then to 3.8."),
    ],
)
def test_the_way_round_is_named(installed: str, wanted: str, way: str) -> None:
    assert hop_problem(installed, wanted) == (
        f"rabbitmq_version leads from {installed} to {wanted}, which RabbitMQ does not support in one step: set it to "
        f"{way}, or drain and switch, as docs/runbooks/switch-broker.md says."
    )


@pytest.mark.parametrize(
    ("installed", "wanted"),
    [
        ("4.0.5-8", "4.0.5-8"),
        ("4.0.5-8", "4.0.5-8+deb13u1"),
        ("4.0.5-8", "4.0.9-1"),
        ("4.4.0-1", "4.4.1-1"),
        ("3.11.18-1", "3.12.14-1"),
        ("4.2.0-1", "4.3.0-1"),
    ],
)
def test_patch_levels(installed: str, wanted: str) -> None:
    assert hop_problem(installed, wanted) is None


@pytest.mark.parametrize(
    ("installed", "wanted", "says"),
    [
        ("4.0.5-8", "4.0.4-1", "leads to 4.0.4-1, which is older than 4.0.5-8"),
        ("4.3.0-1", "4.4.0-1", "is not known here: set it to 4.3. or older"),
        ("4.2.0-1", "5.0.0-1", "is not known here: set it to 4.3. or older"),
        ("3.6.16-1", "3.10.8-1", "to which RabbitMQ has no steps: drain and switch"),
    ],
)
def test_neighbours_that_are_refused(installed: str, wanted: str, says: str) -> None:
    assert says in str(hop_problem(installed, wanted))


def test_khepri_of_3_13_is_read_by_no_later_version() -> None:
    assert "feature flag khepri_db" in str(store_problem("3.13.7-1", "4.2.1-1", ["khepri_db"]))
    assert store_problem("3.13.7-1", "4.2.1-1", ["quorum_queue"]) is None
    assert store_problem("3.13.6-1", "3.13.7-1", ["khepri_db"]) is None
    assert store_problem("4.0.5-8", "4.2.1-1", ["khepri_db"]) is None


def test_a_step_back_that_the_numbers_do_not_show() -> None:
    """Of one version of RabbitMQ there are several packages."""
    assert hop_problem("4.0.5-8+deb13u1", "4.0.5-8") is None
    assert "4.0.5-8, which is older than 4.0.5-8+deb13u1" in str(hop_problem("4.0.5-8+deb13u1", "4.0.5-8", older=True))


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
