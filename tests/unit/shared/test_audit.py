# SPDX-License-Identifier: GPL-3.0-or-later
"""The module runs the audit's program on the host, and fails with its sentences."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.modules import audit as module

PROGRAM = Path(__file__).parents[3] / "roles/runtime/files/celeryops_audit"
PLAN = {"workers": {"default": {"queues": ["celery"], "soft_time_limit": 45, "time_limit": 60}}}
SHOP = """
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_always_eager = {eager}
"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def audit(tmp_path: Path, run_module: Run) -> Run:
    """Audits an application; the launcher goes into its release, as celery-run does."""
    launcher = tmp_path / "celery-run"
    launcher.write_text(f'#!/bin/sh\nshift\ncd "$CELERY_RELEASE/src"\nexec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    (tmp_path / "release/src").mkdir(parents=True)

    def run(eager: bool = False, **arguments: Any) -> dict[str, Any]:
        (tmp_path / "release/src/shop.py").write_text(SHOP.format(eager=eager))
        given = {"app": "shop:app", "release": str(tmp_path / "release"), "plan": PLAN, "broker": False}
        return run_module("audit", **{"program": str(PROGRAM), "launcher": str(launcher), **given, **arguments})

    return run


def test_what_is_certain_and_severe_fails(audit: Run) -> None:
    done = audit(eager=True)
    assert done["failed"]
    assert done["msg"].startswith(
        "The audit of shop:app refuses it for 1 reason; mend it, or accept it by id in celery_audit_accept "
        "(docs/audit.md): [task-always-eager] shop.py:1: task_always_eager is on"
    )


def test_several_findings_stand_once_beside_the_sentence() -> None:
    assert module.refusal("shop:app", ["[a] x", "[b] y"]).result() == {
        "msg": "The audit of shop:app refuses it for 2 reasons; mend it, or accept it by id in celery_audit_accept "
        "(docs/audit.md).",
        "output": "[a] x\n[b] y",
    }


def test_what_is_not_fails_not_and_is_said(audit: Run) -> None:
    done = audit()
    assert (done.get("failed"), done["changed"]) == (None, False)
    assert any("broker-without-timeouts" in line for line in done["lines"])


def test_what_is_accepted_fails_not(audit: Run) -> None:
    done = audit(eager=True, accept=[{"id": "task-always-eager", "reason": "a demonstration"}])
    assert not done.get("failed")


def test_a_warning_fails_not(audit: Run) -> None:
    done = audit(eager=True, enforce=False)
    assert not done.get("failed")
    assert any(line.startswith("refused  task-always-eager:") for line in done["lines"])


def test_an_audit_that_cannot_be_run_is_not_passed(audit: Run, tmp_path: Path) -> None:
    done = audit(accept=[{"id": "plain-loger", "reason": "x"}])
    assert done["failed"]
    assert done["msg"].startswith("audit: acceptance 1 has the id 'plain-loger', which is no check's")
    assert audit(launcher=str(tmp_path / "nothing"))["msg"].endswith("No such file or directory; run site.yml first.")
    assert audit(launcher="/bin/false")["msg"] == "audit: it ended with exit code 1."


def test_a_dry_run_looks_at_what_is_there(audit: Run, tmp_path: Path) -> None:
    assert audit(eager=True, check=True)["failed"]
    done = audit(check=True, release=str(tmp_path / "not-built"))
    assert done["lines"] == ["Not audited: the release is not built in a dry run."]
    assert not done.get("failed")
