# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of Celery are taken, and where another one is seen."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.celeryops.stack.plugins.module_utils import supported
from ansible_collections.celeryops.stack.plugins.module_utils.rules import app

ROOT = Path(__file__).parents[2]
PLANNED: dict[str, Any] = {
    "declaration": {"celery_app": "a:b", "celery_workers": {"default": {}}},
    "app_requirements": ["redis==8.1.0"],
    "app_keep": 3,
}


@pytest.mark.parametrize("name", supported.SUPPORTED)
def test_the_highest_is_the_one_that_everything_runs_with(name: str) -> None:
    for file in ("examples/shop/requirements.txt", "requirements/test.txt"):
        pinned = re.findall(rf"^{name}(?:\[.*\])?==(\S+)", (ROOT / file).read_text(), re.MULTILINE)
        assert pinned in ([supported.SUPPORTED[name].highest], []), file
        assert pinned or name not in ("celery", "redis"), file


def test_one_scenario_runs_with_the_lowest() -> None:
    inventory = yaml.safe_load((ROOT / "molecule/sentinel-faults/inventory/hosts.yml").read_text())
    pinned = dict(each.split("==") for each in inventory["all"]["vars"]["app_requirements"])
    application = (ROOT / "molecule/reliability/app/requirements.txt").read_text().split()
    pinned |= dict(each.split("==") for each in application if "==" in each)
    lowest = {name: bounds.lowest for name, bounds in supported.SUPPORTED.items() if bounds.lowest != bounds.highest}
    assert lowest.items() <= pinned.items()
    assert pinned["celery"] == supported.SUPPORTED["celery"].lowest


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("celery", "5.7.0", True),
        ("celery", "5.7.3", True),
        ("celery", "5.6.3", False),
        ("celery", "5.7.0rc1", False),
        ("celery", "5.7", True),
        ("celery", "5.8.0", False),
        ("celery", "5.8.0b1", False),
        ("celery", "6.0", False),
        ("redis", "8.0.1", True),
        ("redis", "7.4.1", False),
        ("django", "1.0", True),
    ],
)
def test_versions(name: str, version: str, expected: bool) -> None:
    assert supported.is_supported(name, version) is expected
    assert bool(supported.installed_problems({name: version})) is not expected


REFUSED = [
    "celery==5.6.2",
    "Celery[redis] == 5.5.3 ; python_version > '3.8'",
    "celery>=5.4,<5.7  # as long as we can",
    "celery~=5.6.0",
    "celery==5.5.*",
    "celery<5.7",
    "celery (==5.6.2)",
    "celery>=5.8",
    "redis>=5,<6",
    "kombu==5.6.1",
    "billiard==4.2.1",
]
TAKEN = [
    "celery",
    "celery[redis]",
    "celery==5.7.0",
    "celery==5.7.1",
    "celery==5.7.*",
    "celery~=5.5",
    "celery>=5.4",
    "celery>=5.4,<6,!=5.5.1",
    "celery!=5.6.*",
    "celery @ https://example.org/celery.zip",
    "redis>=5",
    "django-celery-beat==2.0",
    "celery-once==3.0",
]


@pytest.mark.parametrize("line", REFUSED)
def test_a_requirement_that_no_version_fulfils_is_refused_before_anything_is_built(line: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# comment\n-r more.txt\nflask==3\n")
    (tmp_path / "more.txt").write_text(f"{line} \\\n    --hash=sha256:00\n")
    found = app.problems({**PLANNED, "app_source": str(tmp_path)})
    assert len(found) == 1
    assert re.match(r"app_source: more.txt asks for \w+.*was not tried; write \w+==[\d.]+ into the", found[0])


@pytest.mark.parametrize("line", TAKEN)
def test_others_are_taken(line: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(line)
    assert app.problems({**PLANNED, "app_source": str(tmp_path)}) == []


def test_other_places_that_say_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\ndependencies = ["celery==5.6.2"]\n')
    (tmp_path / "requirements.lock").write_text("celery==5.6.3 --hash=sha256:00\n")
    assert [each.partition(" asks")[0] for each in app.problems({**PLANNED, "app_source": str(tmp_path)})] == [
        "app_source: requirements.lock",
        "app_source: pyproject.toml",
    ]
    wheel = tmp_path / "shop-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        needed = "Requires-Dist: celery[redis]<5.7,>=5.4\nRequires-Dist: redis==5.0; extra == 'cache'\n"
        archive.writestr("shop-1.0.dist-info/METADATA", f"Name: shop\n{needed}")
    assert len(app.problems({**PLANNED, "app_source": str(wheel)})) == 1
    shop = {**PLANNED, "app_source": str(ROOT / "examples/shop"), "app_requirements": ["redis==5.0.1"]}
    assert app.problems(shop) == [
        "app_requirements asks for redis==5.0.1, with which the workers' runtime was not tried; write redis==8.1.0 "
        "into the application's requirements (tried: 8.0.0 to 8.1.0)"
    ]
    without = {**PLANNED["declaration"], "celery_result_backend": "none"}
    assert app.problems({**shop, "declaration": without}) == [], "it is the application's own affair"


def test_what_is_installed_is_read_without_running_it(tmp_path: Path) -> None:
    for name in ("celery-5.6.3", "redis-8.1.0", "django_celery_beat-2.0", "kombu-5.7.0"):
        (tmp_path / f"{name}.dist-info").mkdir()
    found = supported.installed([str(tmp_path)])
    assert found == {"celery": "5.6.3", "redis": "8.1.0", "kombu": "5.7.0"}
    assert [each.split(" is")[0] for each in supported.installed_problems(found)] == ["celery 5.6.3"]
