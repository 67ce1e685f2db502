# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual environment of somebody else's is looked at before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run


@pytest.mark.parametrize(
    ("installed", "uses_redis", "sentence"),
    [
        (
            ["celery-5.6.2", "kombu-5.7.0"],
            True,
            "celery 5.6.2 is installed, with which the workers' runtime was not tried",
        ),
        (["celery-5.7.0", "redis-5.0.1"], True, "redis 5.0.1 is installed"),
        (["celery-5.7.0", "redis-5.0.1"], False, ""),
        ([], True, ""),
    ],
)
def test_versions(run_module: Run, tmp_path: Path, installed: list[str], uses_redis: bool, sentence: str) -> None:
    for each in installed:
        (tmp_path / "lib/python3.13/site-packages" / f"{each}.dist-info").mkdir(parents=True)
    told = run_module("celery_versions", venv=str(tmp_path), uses_redis=uses_redis)
    assert told.get("failed", False) is bool(sentence)
    assert told.get("msg", "").startswith(f"{tmp_path}: {sentence}" if sentence else "")
    assert sorted(told["versions"]) == sorted(each.partition("-")[0] for each in installed)
