# SPDX-License-Identifier: GPL-3.0-or-later
"""What is built is what users need, and nothing that it links to is missing there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from ansible_collections.celeryops.stack.plugins.module_utils.plan import make_plan

ROOT = Path(__file__).parents[2]
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
REPOSITORY = f"{GALAXY['repository']}/blob/main/"
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)")
HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built collection, as it is installed."""
    place = tmp_path_factory.mktemp("built")
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    subprocess.run([galaxy, "collection", "build", "--output-path", place, ROOT], check=True, capture_output=True)
    (archive,) = place.glob("*.tar.gz")
    collection = place / "ansible_collections" / GALAXY["namespace"] / GALAXY["name"]
    with tarfile.open(archive) as tar:
        tar.extractall(collection, filter="data")
    return collection


@pytest.fixture(scope="module")
def shipped(built: Path) -> set[str]:
    return {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files of the checkout that are, or can be, under version control."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return {name for name in names if name and (ROOT / name).is_file()}


def test_only_the_tests_that_verify_runs_are_shipped(shipped: set[str], tracked: set[str]) -> None:
    tests = {name for name in shipped if name.startswith("tests/")}
    assert tests == {name for name in tracked if name.startswith("tests/testinfra/")}


def test_everything_shipped_is_meant_to_be(shipped: set[str], tracked: set[str]) -> None:
    places = {name.split("/")[0] for name in shipped}
    assert places == {
        *("CHANGELOG.md", "CONTRIBUTING.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md"),
        *(
            "changelogs",
            "docs",
            "examples",
            "meta",
            "playbooks",
            "plugins",
            "requirements",
            "roles",
            "site.yml",
            "tests",
        ),
    }
    assert shipped - tracked == {"FILES.json", "MANIFEST.json"}


def test_verify_finds_its_tests_in_the_installed_collection(built: Path, tmp_path: Path) -> None:
    """They are imported, and chosen for a deployment of one worker."""
    plan = make_plan({"celery_app": "app:app", "celery_workers": {"default": {}}}, "here")
    facts = {"name": "here", "groups": ["worker"], "connection": {}, "variables": {"celery_plan": plan}}
    (tmp_path / "here.json").write_text(json.dumps(facts))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", built / "tests/testinfra"]
    run = subprocess.run(
        command,
        cwd=built,
        env={**os.environ, "CELERYOPS_FACTS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "test_units.py" in run.stdout


def anchors(text: str) -> set[str]:
    """What a link may name after '#', as GitHub makes it from the headings."""
    headings = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower() for title in HEADING.findall(FENCE.sub("", text)))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in headings}


def broken(root: Path, documents: set[str]) -> list[str]:
    """Links of these documents that lead nowhere: relative ones within root, the repository's own in the checkout."""
    found = []
    for name in sorted(documents):
        document = root / name
        for link in LINK.findall(FENCE.sub("", document.read_text())):
            place, _sharp, anchor = unquote(link).partition("#")
            if place.startswith(REPOSITORY):
                target = ROOT / place.removeprefix(REPOSITORY)
            elif re.match(r"[a-z]+:", place):
                continue
            else:
                target = document.parent / place if place else document
                if not target.resolve().is_relative_to(root.resolve()):
                    found.append(f"{name}: {link}")
                    continue
            if not target.exists() or (anchor and target.is_file() and anchor not in anchors(target.read_text())):
                found.append(f"{name}: {link}")
    return found


def markdown(names: set[str]) -> set[str]:
    return {name for name in names if name.endswith(".md")}


def test_links_lead_somewhere_in_the_built_collection(built: Path, shipped: set[str]) -> None:
    assert {"README.md", "docs/runbooks/verify.md"} <= shipped
    assert broken(built, markdown(shipped)) == []


def test_links_lead_somewhere_in_the_checkout(tracked: set[str]) -> None:
    assert broken(ROOT, markdown(tracked)) == []


def test_a_release_is_in_the_changelog_or_said_to_be_missing() -> None:
    releases = yaml.safe_load((ROOT / "changelogs/changelog.yaml").read_text())["releases"]
    unreleased = "not released yet" in (ROOT / "README.md").read_text()
    assert unreleased == (GALAXY["version"] not in releases)
