# SPDX-License-Identifier: GPL-3.0-or-later
"""A Django project that keeps results in its database, with commands that import no tasks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import RUNTIME

SETTINGS = """
SECRET_KEY = "only for a test"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_results", {more}]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{folder}/db.sqlite3"}}}}
USE_TZ = True
CELERY_RESULT_BACKEND = "django-db"
"""
APP = """
import os
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
app = Celery("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
#: Asks for the backend while Django is being set up.
EAGER = """
from django.apps import AppConfig

class Eager(AppConfig):
    name = "eager"

    def ready(self):
        from proj.celery import app
        print("backend:", type(app.backend).__name__)
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs Python in the project, as celery-run does."""
    for package in ("proj", "eager"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "proj/celery.py").write_text(APP)
    (tmp_path / "eager/apps.py").write_text(EAGER)
    (tmp_path / "settings.json").write_text(json.dumps({"settings": {"broker_url": "memory://"}}))

    def in_project(*arguments: str, more: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "proj/settings.py").write_text(SETTINGS.format(folder=tmp_path, more=more))
        given = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{RUNTIME}:{tmp_path}",
            "CELERYOPS_SETTINGS": str(tmp_path / "settings.json"),
            "CELERY_LOADER": "celeryops_runtime.loader:Loader",
        }
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=given | environ, capture_output=True, text=True, check=False
        )

    migrated = in_project("-m", "django", "migrate", DJANGO_SETTINGS_MODULE="proj.settings")
    assert migrated.returncode == 0, migrated.stderr
    return in_project


@pytest.mark.parametrize("command", [("call", "proj.anything"), ("result", "--traceback", "c0ffee")])
def test_a_command_that_imports_no_tasks_finds_the_backend(run: Run, command: tuple[str, ...]) -> None:
    """Celery itself sets Django up where a worker is about to import its tasks, and else not."""
    done = run("-c", "from celery.__main__ import main; main()", "-A", "proj.celery", *command)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_login_is_tried_there_too(run: Run) -> None:
    done = run("-m", "celeryops_runtime", "login", "--app", "proj.celery:app")
    assert (done.returncode, done.stderr) == (0, "")


def test_django_is_not_set_up_while_it_is_being_set_up(run: Run) -> None:
    check = ("-m", "django", "check")
    done = run(*check, more='"eager.apps.Eager"', DJANGO_SETTINGS_MODULE="proj.settings")
    assert "backend: DatabaseBackend" in done.stdout, done.stderr
