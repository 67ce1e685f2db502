# SPDX-License-Identifier: GPL-3.0-or-later
"""The module fails with the sentences of the program that it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]
REQUEST = '{"objects": {"queues": [{"name": "default"}]}, "broker_url": "amqp://shop:s3cret-pw@mq/shop"}'


@pytest.fixture
def ask(tmp_path: Path, run_module: Run) -> Run:
    """Runs the module with a script for its program."""

    def run(script: str, **arguments: Any) -> dict[str, Any]:
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return run_module("broker_objects", **{"command": [str(program)], "request": REQUEST, **arguments})

    return run


def test_what_was_declared_is_a_change(ask: Run, tmp_path: Path) -> None:
    result = ask(f"cat >{tmp_path}/read; echo 'declared: queue default'; echo 'a warning' >&2")
    assert (result["changed"], result["declared"]) == (True, ["queue default"])
    assert '"broker_url": "amqp://shop:s3cret-pw@mq/shop"' in (tmp_path / "read").read_text()
    assert ask("cat >/dev/null")["changed"] is False


@pytest.mark.parametrize("code", [1, 78])
def test_its_sentences_are_the_message(ask: Run, code: int) -> None:
    script = (
        f"echo 'celeryops: One is wrong.' >&2; echo 'a warning' >&2; echo 'celeryops: default, too.' >&2; exit {code}"
    )
    result = ask(script)
    assert (result["failed"], result["msg"]) == (True, "One is wrong. default, too.")


def test_without_a_sentence_everything_is(ask: Run, tmp_path: Path) -> None:
    result = ask("echo 'Traceback'; echo 'ValueError: so' >&2; exit 1")
    assert result["msg"] == f"{tmp_path}/program ended with exit code 1: ValueError: so"
    assert result["output"] == "Traceback\nValueError: so"
    assert "cannot be run: No such file" in ask("", command=["/nowhere/celery-run"])["msg"]
    assert ask("exec sleep 20", timeout=1)["msg"] == f"{tmp_path}/program did not end within 1 s."


def test_nothing_is_asked_before_there_is_a_release(ask: Run, tmp_path: Path) -> None:
    assert ask("exit 1", requires=[str(tmp_path / "nowhere")])["changed"] is False
    assert ask("exit 1", check=True)["changed"] is False
    assert ask("exit 1", requires=[str(tmp_path)])["failed"] is True
