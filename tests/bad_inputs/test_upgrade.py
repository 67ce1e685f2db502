# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgrade to RabbitMQ 4.3 or newer is refused while a worker has a Celery whose queues that would not take.

Needs no host:
    pytest tests/bad_inputs/test_upgrade.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Case, Trials, write

REFUSED = "which refuses queues that Celery {} makes: release the application with Celery 5.7 or newer first"


def upgrade(trials: Trials, place: Path, installed: str, wanted: str, celery: str) -> str:
    """What playbooks/upgrade_broker.yml says of a host with these versions, where nothing can be backed up."""
    write(Case(()), place)
    for module, answer in {
        "owner": {"changed": False},
        "apt": {"changed": False},
        "rabbitmq_upgrade": {"changed": False, "installed": installed, "wanted": wanted},
        "command": {"changed": True, "rc": 0, "stdout": celery, "stderr": ""},
    }.items():
        (place / "host1" / f"{module}.json").write_text(json.dumps(answer))
    return trials.play("upgrade_broker", place / "inventory", place).said


@pytest.mark.parametrize(("wanted", "celery"), [("4.3.0-1", "5.6.2"), ("4.3.0-1", "5.5.3"), ("4.4.1-1", "5.6.2")])
def test_an_older_celery_is_refused(trials: Trials, tmp_path: Path, wanted: str, celery: str) -> None:
    assert REFUSED.format(celery) in upgrade(trials, tmp_path, "4.2.1-1", wanted, celery)


@pytest.mark.parametrize(("wanted", "celery"), [("4.3.0-1", "5.7.0"), ("4.3.0-1", ""), ("4.2.2-1", "5.6.2")])
def test_nothing_else_is(trials: Trials, tmp_path: Path, wanted: str, celery: str) -> None:
    said = upgrade(trials, tmp_path, "4.2.1-1", wanted, celery)
    assert "refuses queues" not in said
    assert "PLAY [Back up]" in said, said
