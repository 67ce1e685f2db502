# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application must name for its broker and its result backend is said before anything is built."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.rules import app

REDIS = "names no redis, by which Celery speaks to the"
WRITE = "; write redis==8.1.0 into the application's requirements"


def said(root: Path, declared: dict[str, Any] | None = None, more: list[str] | None = None) -> list[str]:
    declaration = {"celery_app": "a:b", "celery_workers": {"default": {}}, "celery_result_backend": "none"}
    topology = {"backend": [{"name": "b", "address": "10.0.0.1"}], "broker": [{"name": "b", "address": "10.0.0.1"}]}
    declaration |= {"celery_topology": topology, **(declared or {})}
    values = {"declaration": declaration, "app_source": str(root), "app_keep": 3, "app_requirements": more or []}
    return app.problems(values)


@pytest.mark.parametrize(
    "listed",
    ["redis==8.1.0", "celery[redis]==5.7.0", "celery[auth, redis]", "django-redis==6.0", "celery-redbeat", "redis @ x"],
)
def test_who_names_redis_has_it(listed: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"django==5.2\n{listed}\n")
    assert said(tmp_path, {"celery_result_backend": "redis"}) == []


def test_who_does_not_name_redis_is_told(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("django==5.2\ncelery==5.7.0  # no redis\n")
    assert said(tmp_path) == []
    assert said(tmp_path, {"celery_result_backend": "redis"}) == [
        f"app_source: requirements.txt {REDIS} result backend{WRITE}"
    ]
    assert said(tmp_path, {"celery_broker": "redis"}) == [f"app_source: requirements.txt {REDIS} broker{WRITE}"]
    assert said(tmp_path, {"celery_broker": "redis"}, ["redis==8.1.0"]) == []


@pytest.mark.parametrize("line", ["-e ../ours", "./ours", "git+https://example.org/ours.git", "ours.whl/x"])
def test_what_another_source_brings_is_not_known(line: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"celery==5.7.0\n{line}\n")
    assert said(tmp_path, {"celery_broker": "redis"}) == []


def test_a_project_whose_requirements_stand_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\ndynamic = ["dependencies"]\n')
    assert said(tmp_path, {"celery_broker": "redis"}) == []
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\ndependencies = ["celery>=5.7"]\n')
    assert said(tmp_path, {"celery_broker": "redis"})
    (tmp_path / "requirements.lock").write_text("celery==5.7.0\nredis==8.1.0\n")
    assert said(tmp_path, {"celery_broker": "redis"}) == []


def test_a_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "shop-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("shop-1.0.dist-info/METADATA", "Name: shop\nRequires-Dist: celery==5.7.0\n")
    assert said(wheel, {"celery_broker": "redis"}) == [f"app_source: {wheel.name} {REDIS} broker{WRITE}"]


@pytest.mark.parametrize(
    ("settings", "listed", "package"),
    [
        ('CELERY_RESULT_BACKEND = "django-db"', "django==5.2", "django-celery-results"),
        ('CELERY_RESULT_BACKEND = "django-db"', "django_celery_results==2.6.0", ""),
        ('class Production:\n    CELERY_RESULT_BACKEND: str = "django-cache"', "", "django-celery-results"),
        ('app.conf.update(result_backend="db+postgresql://x/y")', "psycopg", "sqlalchemy"),
        ('app.conf.update({"result_backend": "db+postgresql://x/y"})', "flask-sqlalchemy", ""),
        ('app.conf["result_backend"] = "db+sqlite:///x"', "celery[sqlalchemy]", ""),
        ('app.conf.result_backend = "rediss://x"', "", "redis"),
        ('app = Celery("a", backend="mongodb://x")', "", "pymongo"),
        ('storage = Store(backend="mongodb://x")', "", ""),
        ('result_backend = "db+sqlite:///x"\nresult_backend = "django-db"', "", ""),
        ('result_backend = os.environ.get("RESULTS", "django-db")', "", ""),
        ('result_backend = "file:///x"', "", ""),
        ('result_backend = "django-db', "", ""),
    ],
)
def test_the_applications_own_result_backend(settings: str, listed: str, package: str, tmp_path: Path) -> None:
    """Only where the sources name a single one: which of several counts is not known here."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/settings.py").write_text(settings)
    (tmp_path / "requirements.txt").write_text(f"celery==5.7.0\n{listed}\n")
    found = said(tmp_path, {"celery_result_backend": "application"})
    assert len(found) == bool(package)
    assert all(f"names no {package}, which its result backend" in each for each in found)
    assert said(tmp_path, {"celery_result_backend": "none"}) == [], "the plan's counts"
