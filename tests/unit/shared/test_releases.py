# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release is made of and called, and which ones go."""

from __future__ import annotations

import io
import json
import os
import pwd
import stat
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import releases
from ansible_collections.celeryops.stack.plugins.module_utils.releases import Installed, Source, SourceError
from ansible_collections.celeryops.stack.plugins.module_utils.venvs import python_version
from ansible_collections.celeryops.stack.plugins.modules import release
from hypothesis import given
from hypothesis import strategies as st

from .conftest import Run


def project(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def archived(root: Path) -> tuple[str, bytes]:
    stream = io.BytesIO()
    return releases.write_archive(root, stream, releases.choose(root).shipped), stream.getvalue()


def test_what_belongs_to_a_release(tmp_path: Path) -> None:
    ours = ["build.py", "shop/__init__.py", "shop/build/a.py"]
    others = [".git/x", ".venv/x", "env/pyvenv.cfg", "env/bin/x", "build/x", "dist/x", "node_modules/x", "a.egg-info/x"]
    others += ["shop/__pycache__/x", "shop/a.pyc", ".cache/x", ".pytest_cache/x", ".env"]
    assert releases.choose(project(tmp_path, *ours, *others)).shipped == ours


def test_what_is_kept_out_of_a_release(tmp_path: Path) -> None:
    """By name anywhere, with a slash by the path from the top."""
    ours = ["shop/a.py", "shop/media/__init__.py", "shop/uploads.py"]
    others = ["media/x/y.jpg", "db.sqlite3", "shop/test.sqlite3", "uploads/x", "shop/uploads/x", "shop/tmp/a.log"]
    root = project(tmp_path, *ours, *others)
    exclude = ["/media", "*.sqlite3", "uploads", "shop/tmp/*"]
    assert releases.choose(root, exclude).shipped == ours
    assert releases.choose(root).shipped == sorted([*ours, *others])


def test_what_git_ignores_is_kept_out_too(tmp_path: Path) -> None:
    """And is named, unless app_exclude says what is to become of it."""
    ours = ["a.py", "media.py"]
    others = ["media/x/y.jpg", "media/z", "db.sqlite3", "front/dist/a.js", "dist/b.js"]
    root = project(tmp_path, *ours, *others, ".env", "a/__pycache__/b")
    ignored = {"media/", "db.sqlite3", "front/dist/", ".env", "a/__pycache__/"}
    chosen = releases.choose(root, (), ignored)
    assert chosen.shipped == ours
    assert chosen.ignored == ["db.sqlite3", "front/dist/", "media/"], "not what never belongs to a release"
    chosen = releases.choose(root, ["/media", "!/front/dist", "!/dist"], ignored)
    assert chosen.shipped == ["a.py", "dist/b.js", "front/dist/a.js", "media.py"]
    assert chosen.ignored == ["db.sqlite3"]


def test_what_is_shipped_all_the_same(tmp_path: Path) -> None:
    """An entry with ! comes before every other, wherever it stands."""
    root = project(tmp_path, "a.sqlite3", "fixtures/b.sqlite3", ".env")
    for exclude in (["!/fixtures", "*.sqlite3"], ["*.sqlite3", "!/fixtures", "!.env"]):
        assert releases.choose(root, exclude).shipped == ["fixtures/b.sqlite3"]


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (["a/"], "git ignores a/, so shop-1 is without it"),
        (["a", "b", "c"], "git ignores a, b and c, so shop-1 is without them"),
        (list("abcdef"), "git ignores a, b, c, d and 2 more, so shop-1 is without them"),
    ],
)
def test_the_warning_of_what_git_ignores(left: list[str], said: str) -> None:
    assert releases.left_out(left, "shop-1").startswith(said)


def test_equal_contents_make_equal_archives(tmp_path: Path) -> None:
    first = project(tmp_path / "one", "b", "a/c")
    second = project(tmp_path / "two", "a/c", "b")
    os.utime(second / "b", (1, 1))
    (second / "b").chmod(0o600)
    assert archived(first) == archived(second)
    (second / "b").write_text("other")
    assert archived(first)[0] != archived(second)[0]
    (first / "b").chmod(0o755)
    with tarfile.open(fileobj=io.BytesIO(archived(first)[1])) as packed:
        assert [(each.name, each.mode, each.mtime, each.uid) for each in packed] == [
            ("a/c", 0o644, releases.TIMESTAMP, 0),
            ("b", 0o755, releases.TIMESTAMP, 0),
        ]


def test_links_stay_inside(tmp_path: Path) -> None:
    root = project(tmp_path / "one", "a/c")
    (root / "a" / "inside").symlink_to("../a/c")
    archived(root)
    for target in ("../../outside", "/etc/passwd"):
        (root / "a" / "out").unlink(missing_ok=True)
        (root / "a" / "out").symlink_to(target)
        with pytest.raises(SourceError, match="leads out of the project"):
            archived(root)


def test_sources(tmp_path: Path) -> None:
    folder = project(tmp_path / "checkout", "a")
    assert releases.recognise("checkout", str(folder)) == Source("directory", str(folder), "checkout", "")
    (folder / "pyproject.toml").write_text('[project]\nname = "shop"\nversion = "0.1.0"\n')
    assert releases.recognise("checkout", str(folder)).version == "0.1.0"
    assert releases.recognise("checkout", str(folder), "v7").version == "v7"
    wheel = project(tmp_path, "shop-1.2.0-py3-none-any.whl") / "shop-1.2.0-py3-none-any.whl"
    assert releases.recognise(str(wheel), str(wheel)) == Source("wheel", str(wheel), "shop", "1.2.0")
    extras = "shop[redis]==1.2.0"
    assert releases.recognise(extras, "/no/where") == Source("requirement", extras, "shop", "1.2.0")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("shop", "shop is not pinned"),
        ("shop>=1", "shop>=1 is not pinned"),
        ("shop==1.*", r"shop==1.\* is not pinned"),
        ("shop[a]", "is not pinned"),
        ("../shop", "does not exist on the controller"),
        ("a.whl", "the wheel a.whl does not exist"),
        ("", "does not exist"),
    ],
)
def test_what_is_no_source(source: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        releases.recognise(source, "/no/where")


def test_an_id_changes_with_everything_that_the_release_is_built_from() -> None:
    source = Source("directory", "/x", "shop", "0.1.0")
    name = source.identity("hash", ["a", "b"], "/usr/bin/python3", "shop:app")
    assert name == source.identity("hash", ["b", "a"], "/usr/bin/python3", "shop:app")
    others = {
        source.identity("other", ["a", "b"], "/usr/bin/python3", "shop:app"),
        source.identity("hash", ["a"], "/usr/bin/python3", "shop:app"),
        source.identity("hash", ["a", "b"], "/usr/bin/python4", "shop:app"),
        source.identity("hash", ["a", "b"], "/usr/bin/python3", "shop:other"),
    }
    others.add(source.identity("hash", ["a", "b"], "/usr/bin/python3", "shop:app", [["collect"]]))
    assert name == source.identity("hash", ["a", "b"], "/usr/bin/python3", "shop:app", [])
    assert len(others | {name}) == 6
    assert all(each.startswith("shop-0.1.0-") and len(each) == len("shop-0.1.0-") + 12 for each in others)
    assert "/" not in Source("directory", "/x", "a b/c", "").identity("", [], "", "")


INSTALLED = st.lists(
    st.builds(Installed, st.sampled_from("abcdefgh"), st.booleans(), st.floats(0, 100)),
    unique_by=lambda each: each.name,
)


@given(INSTALLED, st.sets(st.sampled_from("abcdefgh"), max_size=2), st.integers(2, 5))
def test_pruning(installed: list[Installed], protected: set[str], keep: int) -> None:
    gone = set(releases.to_prune(installed, protected, keep))
    left = [each for each in installed if each.name not in gone]
    assert not gone & protected
    assert all(each.complete for each in left if each.name not in protected)
    assert len([each for each in left if each.complete]) <= keep
    oldest_left = min((each.installed_at for each in left if each.complete and each.name not in protected), default=0)
    assert all(
        each.installed_at <= oldest_left for each in installed if each.name in gone and each.complete and oldest_left
    )


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["a", "requirements.txt", "requirements.lock"], "requirements.lock"),
        (["requirements.txt"], "requirements.txt"),
        ([], None),
    ],
)
def test_the_lock_file_comes_first(names: list[str], chosen: str | None) -> None:
    assert releases.lock_file(names) == chosen


class TestSwitching:
    """The module, with releases that are already there."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        for age, name in enumerate(("c", "b", "a")):
            folder = tmp_path / "releases" / name
            folder.mkdir(parents=True)
            (folder / ".complete").write_text("CPython 3.11\n")
            os.utime(folder / ".complete", (1000 - age, 1000 - age))
        (tmp_path / "releases" / "half").mkdir()
        return tmp_path

    def test_a_release_is_shown_with_its_commit(self, home: Path, run_module: Run) -> None:
        (home / "releases/a/release.json").write_text('{"id": "a", "commit": "3f2a9c1b0d-dirty"}')
        refused = run_module("release", release="x", home=str(home))
        assert "there are a (commit 3f2a9c1b0d-dirty), b, c" in refused["msg"]
        assert run_module("release", release="a", home=str(home))["commit"] == "3f2a9c1b0d-dirty"
        assert run_module("release", release="b", home=str(home))["commit"] == ""
        new = {"source": "x", "app": "x:y", "home": str(home), "_kind": "directory", "_commit": "1a2b", "free_space": 0}
        assert run_module("release", **new, _release="new", check=True)["commit"] == "1a2b"
        (home / "releases/a/.complete").write_text(release.minor_of(python_version(sys.executable)) + "\n")
        same = run_module("release", **new, _release="a", python=sys.executable, check=True)
        assert (same["built"], same["commit"]) == (False, "3f2a9c1b0d-dirty"), "of whatever commit, it is the same"

    def links(self, home: Path) -> tuple[str, ...]:
        return tuple(os.readlink(home / name) for name in ("current", "previous") if (home / name).is_symlink())

    def test_there_and_back(self, home: Path, run_module: Run) -> None:
        def switch(release: str, **options: Any) -> dict[str, Any]:
            return run_module("release", release=release, home=str(home), keep=2, **options)

        assert "no release before" in switch("previous")["msg"]
        assert "there are a, b, c" in switch("half")["msg"]
        assert switch("a", check=True)["changed"]
        assert self.links(home) == ()
        first = switch("a")
        assert (first["previous"], first["pruned"]) == ("", ["b", "half"])
        assert self.links(home) == ("releases/a",)
        assert switch("a")["changed"] is False
        second = switch("c")
        assert second["changed_paths"] == [str(home / "current")]
        assert self.links(home) == ("releases/c", "releases/a")
        assert switch("previous")["release"] == "a"
        assert self.links(home) == ("releases/a", "releases/c")

    def test_what_failed_is_nothing_to_go_back_to(self, home: Path, run_module: Run) -> None:
        def switch(release: str, **options: Any) -> dict[str, Any]:
            return run_module("release", release=release, home=str(home), keep=5, **options)

        switch("a")
        switch("b")
        told = switch("c")
        assert (told["current"], told["previous"]) == ("b", "b")
        assert switch("b", previous="a")["previous"] == "a"
        assert self.links(home) == ("releases/b", "releases/a")
        switch("c")
        assert switch("b", previous="")["previous"] == ""
        assert self.links(home) == ("releases/b",)

    def test_keep_must_leave_a_way_back(self, home: Path, run_module: Run) -> None:
        assert "keep must be at least 2" in run_module("release", release="a", home=str(home), keep=1)["msg"]

    def test_current_must_be_a_link(self, home: Path, run_module: Run) -> None:
        (home / "current").mkdir()
        assert "is not a link: move it away" in run_module("release", release="a", home=str(home))["msg"]

    def test_asks_for_the_content_only_when_it_is_needed(self, home: Path, run_module: Run) -> None:
        asked = run_module(
            "release", source="x", app="x:y", home=str(home), _release="new", _kind="directory", free_space=0
        )
        assert asked["_needs_content"] is True
        assert run_module("release", source="x", app="x:y", home=str(home), _release="new", check=True)["built"] is True

    def test_a_full_disk_is_one_sentence(self, home: Path, run_module: Run) -> None:
        full = run_module(
            "release", source="x", app="x:y", home=str(home / "deep" / "er"), _release="n", free_space=2**40
        )
        assert "MiB free, a release needs" in full["msg"]


def test_what_to_go_back_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = release.Home(str(tmp_path))
    for name in ("old", "new"):
        (home.folder(name) / "src").mkdir(parents=True)
        (home.folder(name) / release.COMPLETE).write_text("")
    me = pwd.getpwuid(os.getuid()).pw_name
    home.switch("old", "")
    assert home.fallback("new", me) == "old"
    home.switch("new", "old")  # and then the run was interrupted
    assert home.fallback("new", me) == ""
    monkeypatch.chdir(home.folder("old") / "src")
    assert home.fallback("new", me) == "old"
    assert home.fallback("new", "daemon") == "", "somebody else only looks around there"
    assert home.fallback("new", "nobody-of-that-name") == ""


class Installing:
    """Stands for uv: makes an environment with these packages."""

    def __init__(self, *installed: str) -> None:
        self.python = sys.executable
        self._installed = installed

    def ensure(self) -> None: ...

    def create(self, venv: str) -> None:
        for each in self._installed:
            Path(venv, "lib/python3.13/site-packages", f"{each}.dist-info").mkdir(parents=True)

    def install(self, *given: Any, **more: Any) -> None: ...


@pytest.mark.parametrize(
    ("installed", "uses_redis", "refused"),
    [
        (
            "celery-5.6.2",
            True,
            "celery 5.6.2 is installed, with which the workers' runtime was not tried; write celery==",
        ),
        ("redis-7.1.0", True, "redis 7.1.0 is installed"),
        ("redis-7.1.0", False, ""),
        ("celery-5.7.0", True, ""),
    ],
)
def test_a_version_that_was_not_tried_makes_no_release(
    tmp_path: Path, installed: str, uses_redis: bool, refused: str
) -> None:
    uv: Any = Installing(installed)
    params = {"requirements": [], "build": [], "import_check": False, "uses_redis": uses_redis, "_commit": "1a2b"}
    builder = release.Builder(tmp_path / "r1", uv, params)
    if refused:
        with pytest.raises(release.BuildError, match=refused):
            builder.build("requirement", "shop==1.0", None)
    else:
        builder.build("requirement", "shop==1.0", None)
        assert json.loads((tmp_path / "r1/release.json").read_text())["commit"] == "1a2b"
    assert (tmp_path / "r1" / release.COMPLETE).exists() is not bool(refused)


class TestBuildCommands:
    """Of the application itself: collecting static files, compiling translations."""

    @pytest.fixture
    def build(self, tmp_path: Path) -> Callable[..., Path]:
        launcher = tmp_path / "celery-run"
        launcher.write_text('#!/bin/sh\ncd "$CELERY_RELEASE/src"\necho "$CELERY_WRITABLE" >../writable\nexec "$@"\n')
        launcher.chmod(0o755)
        me = pwd.getpwuid(os.getuid()).pw_name

        def run(*commands: list[str], **more: Any) -> Path:
            given = {
                "requirements": [],
                "import_check": False,
                "uses_redis": True,
                "user": me,
                "next": "",
                "_commit": "",
            }
            params = {**given, "launcher": str(launcher), "build": list(commands), **more}
            uv: Any = Installing()
            release.Builder(tmp_path / "r1", uv, params).build("requirement", "shop==1.0", None)
            return tmp_path / "r1"

        return run

    @pytest.mark.parametrize("alone", [False, True])
    def test_what_they_write_is_part_of_the_release(self, build: Callable[..., Path], alone: bool) -> None:
        commands = [["sh", "-c", "umask 077; mkdir static; echo a >static/a; chmod u+x static/a"], ["touch", "b c"]]
        made = build(*commands, **({"launcher": None} if alone else {}))
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (made / "src").rglob("*")}
        assert found == {"static": 0o755, "a": 0o755, "b c": 0o644}, "a web server reads them"
        assert (made / "src/static/a").stat().st_uid == os.geteuid()
        assert alone or (made / "writable").read_text() == f"{made}/src\n"

    def test_one_that_fails_leaves_no_release(self, build: Callable[..., Path], tmp_path: Path) -> None:
        with pytest.raises(release.BuildError, match=r"^sh -c 'echo no; exit 5' ended with exit code 5: no$"):
            build(["sh", "-c", "echo no; exit 5"], ["touch", "b"])
        assert not (tmp_path / "r1").exists()

    def test_what_they_link_to_stays_as_it_is(self, build: Callable[..., Path], tmp_path: Path) -> None:
        (tmp_path / "outside").touch(mode=0o600)
        build(["ln", "-s", str(tmp_path / "outside"), "link"])
        assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o600
