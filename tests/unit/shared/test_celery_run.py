# SPDX-License-Identifier: GPL-3.0-or-later
"""What celery-run asks systemd for."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest

TEMPLATE = Path(__file__).parents[3] / "roles/runtime/templates/celery-run.j2"
VARIABLES = {
    "ansible_managed": "managed", "celery_plan": {"app": "shop:app"}, "celery_venv": "/app/current/venv",
    "celery_app_dir": "/app/current/src", "celery_etc": "/etc/celery", "celery_home": "/opt/celery",
    "celery_user": "celery", "celery_state_directory": "celery", "celery_process_sandbox": "A=b c\nC=d",
}  # fmt: skip


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs it with a systemd-run that only tells its arguments."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701 - it makes a shell script
    environment.filters |= {"celeryops.stack.unit_lines": str, "quote": shlex.quote}
    script = tmp_path / "celery-run"
    script.write_text(environment.from_string(TEMPLATE.read_text()).render(**VARIABLES))
    (tmp_path / "systemd-run").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for program in (script, tmp_path / "systemd-run"):
        program.chmod(0o755)

    def run(*command: str, **more: str) -> list[str]:
        given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **more}
        done = subprocess.run([script, *command], env=given, check=True, capture_output=True, text=True)
        return done.stdout.splitlines()

    return run


def test_the_sandbox_of_a_worker(asked: Callable[..., list[str]]) -> None:
    told = asked("celery", "inspect", "a b")
    assert "--property=A=b c" in told
    assert "" not in told
    assert not [each for each in told if "ReadWritePaths" in each]
    assert told[-5:] == ["exec", "--", "celery", "inspect", "a b"]


def test_a_build_may_write_to_its_release(asked: Callable[..., list[str]]) -> None:
    told = asked("make", CELERY_RELEASE="/app/releases/a b", CELERY_WRITABLE="/app/releases/a b/src")
    assert "--property=ReadWritePaths=/app/releases/a b/src" in told
    assert "--property=WorkingDirectory=/app/releases/a b/src" in told
