#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audits applications that others wrote, and counts what is found: tests/audit/foreign.json, shown in docs/audit.md.

    .venv/bin/python tests/audit/foreign.py

They are installed from Python's package index into .cache/foreign, and nothing of them is copied. Whether a finding is
true was read by hand in their source; what turned out to be false is written into `false` of that file by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
AUDIT = ROOT / "roles/runtime/files/celeryops_audit"
COUNTS = Path(__file__).with_name("foreign.json")
#: What runs them: one worker with the collection's default limits.
WORKER = {"queues": ["celery"], "soft_time_limit": 240, "time_limit": 300, "timeout_stop": 330}
PLAN = {
    "workers": {"default": WORKER},
    "broker": {"consumer_timeout": 1800000},
    "nodes": ["default-1@one"],
    "beats": 1,
    "sentry": False,
}
#: A Django project as small as these five packages allow, whose tasks are theirs.
PROJECT = {
    "project/__init__.py": "",
    "project/celery.py": """
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
app = Celery("project", broker="amqp://project@localhost")
app.autodiscover_tasks()
""",
    "project/settings.py": """
SECRET_KEY = "not-a-secret-of-anybody"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CONTRIB = ("admin", "auth", "contenttypes", "humanize", "messages", "sessions", "sites")
INSTALLED_APPS = [f"django.contrib.{name}" for name in CONTRIB]
INSTALLED_APPS += ["rest_framework", "author", "import_export", "import_export_celery", "post_office", "user_tasks"]
INSTALLED_APPS += ["helpdesk", "django_webhook", "django_ca"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "author.middlewares.AuthorDefaultBackendMiddleware",
]
PROCESSORS = [f"django.{name}" for name in (
    "template.context_processors.request",
    "contrib.auth.context_processors.auth",
    "contrib.messages.context_processors.messages",
)]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": PROCESSORS},
}]
FILES = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
STORAGES = {"default": FILES, "django-ca": FILES, "staticfiles": FILES}
ROOT_URLCONF = "project.settings"
urlpatterns = []
SITE_ID = 1
USE_TZ = True
CA_DEFAULT_HOSTNAME = "ca.example.org"
DJANGO_WEBHOOK = {"MODELS": [], "USE_CACHE": False}
IMPORT_EXPORT_CELERY_INIT_MODULE = "project.celery"
IMPORT_EXPORT_CELERY_MODELS = {}
""",
}
PACKAGES = (
    "celery==5.5.1",
    "django-ca[celery]==3.2.0",
    "django-helpdesk==2.6.1",
    "django-import-export-celery==1.7.1",
    "django-post_office==3.12.0",
    "django-user-tasks==4.0.0",
    "django-webhook==0.0.15",
)
CONFIGURED = {"PRETALX_CELERY_BROKER": "redis://127.0.0.1/1", "PRETALX_CELERY_BACKEND": "redis://127.0.0.1/2"}


@dataclass(frozen=True)
class Foreign:
    """An application, and what has to be there before it can be loaded."""

    name: str
    app: str
    packages: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    prepare: tuple[str, ...] = ()


PRETALX = ("pretalx==2025.2.2", "redis")
APPLICATIONS = (
    Foreign("pretalx 2025.2.2, as installed", "pretalx.celery_app:app", PRETALX),
    Foreign("pretalx 2025.2.2, with a broker", "pretalx.celery_app:app", PRETALX, CONFIGURED),
    Foreign(
        "celery-director 0.10.0",
        "director._auto:cel",
        ("celery-director==0.10.0", "celery==5.5.1"),
        {"DIRECTOR_HOME": "home"},
        prepare=("director", "init", "home"),
    ),
    Foreign("tasks of " + ", ".join(PACKAGES[1:]), "project.celery:app", PACKAGES, files=PROJECT),
)


def environment_of(packages: tuple[str, ...]) -> Path:
    """A virtual environment that holds them."""
    place = ROOT / ".cache/foreign" / packages[-1].partition("=")[0]
    wanted = "\n".join(packages)
    if not (place / ".packages").exists() or (place / ".packages").read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([place / "bin/python", "-m", "pip", "install", "-q", "--prefer-binary", *packages], check=True)
        (place / ".packages").write_text(wanted)
    return place / "bin"


def audited(foreign: Foreign) -> dict[str, Any]:
    """What is found in one."""
    programs = environment_of(foreign.packages)
    with tempfile.TemporaryDirectory() as place:
        for name, text in {**foreign.files, "plan.json": json.dumps(PLAN)}.items():
            Path(place, name).parent.mkdir(exist_ok=True)
            Path(place, name).write_text(text)
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        own = {name: value.replace("home", f"{place}/home") for name, value in foreign.environ.items()}
        environ = {**inherited, "PRETALX_DATA_DIR": place, **own}
        if foreign.prepare:
            program, *arguments = foreign.prepare
            command = [str(programs / program), *arguments]
            subprocess.run(command, cwd=place, env=environ, check=True, capture_output=True)
        command = [str(programs / "python"), str(AUDIT), foreign.app, "--plan", "plan.json", "--format", "json"]
        done = subprocess.run([*command, "--timeout", "300"], cwd=place, env=environ, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{foreign.name}: {done.stderr}")
    told = json.loads(done.stdout)
    print(told["table"], "\n")

    def count(**wanted: bool) -> dict[str, int]:
        return dict(Counter(each["check"] for each in told["findings"] if wanted.items() <= each.items()))

    return {
        "name": foreign.name,
        "app": foreign.app,
        "tasks": told["tasks"],
        "findings": count(unknown=False),
        "blocking": count(blocks=True),
        "unknown": count(unknown=True),
    }


def main() -> None:
    before = json.loads(COUNTS.read_text()) if COUNTS.exists() else {"false": {}}
    counts = {"applications": [audited(foreign) for foreign in APPLICATIONS], "false": before["false"]}
    COUNTS.write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    main()
