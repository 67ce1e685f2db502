# SPDX-License-Identifier: GPL-3.0-or-later
"""What git says of a project's directory."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.celeryops.stack.plugins.plugin_utils import git
from ansible_collections.celeryops.stack.plugins.plugin_utils.git import GitError


@pytest.fixture(autouse=True)
def _nobodys_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "a@example.com")


def run(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(root: Path, ignored: str, *names: str) -> Path:
    """A repository in which these files are added and committed, as far as git does not ignore them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".gitignore").write_text(ignored)
    run(root, "init", "--quiet")
    run(root, "add", ".")
    run(root, "commit", "--quiet", "--allow-empty", "--message=x")
    return root


def test_what_git_ignores(tmp_path: Path) -> None:
    root = repository(tmp_path, "/media/\n*.sqlite3\n*.mo\n", "shop/a.py", "media/x/y.jpg", "db.sqlite3", "shop/a.mo")
    (root / "shop" / "new.py").touch()
    assert git.look(root).ignored == {"media/", "db.sqlite3", "shop/a.mo"}
    assert git.look(root / "shop").ignored == {"a.mo"}, "as seen from the project"


def test_what_is_committed_all_the_same_is_not_ignored(tmp_path: Path) -> None:
    root = repository(tmp_path, "*.mo\n", "a.mo", "b.mo")
    run(root, "add", "--force", "a.mo")
    assert git.look(root).ignored == {"b.mo"}


def test_names_that_git_would_quote(tmp_path: Path) -> None:
    assert git.look(repository(tmp_path, "*.x\n", 'a "b"\nü.x')).ignored == {'a "b"\nü.x'}


def test_a_submodule_has_its_own_rules(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner", "*.log\n", "a.py")
    outer = repository(tmp_path / "outer", "", "b.py")
    run(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "lib/inner")
    (outer / "lib/inner/a.log").touch()
    assert git.look(outer).ignored == {"lib/inner/a.log"}


def test_a_project_that_git_ignores_as_a_whole_is_not_gits(tmp_path: Path) -> None:
    """Such as one below a home directory whose dotfiles are in a repository that ignores everything else."""
    root = repository(tmp_path, "*\n", "code/shop/a.py", "code/shop/b.mo")
    assert git.look(root / "code/shop") == git.NOTHING


def test_outside_of_a_work_tree(tmp_path: Path) -> None:
    assert git.look(tmp_path) == git.NOTHING


def test_who_asks_from_within_a_hook_means_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = repository(tmp_path / "other", "*.py\n", "a.txt")
    root = repository(tmp_path / "root", "*.mo\n", "a.py", "a.mo")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert git.look(root).ignored == {"a.mo"}


def test_the_commit(tmp_path: Path) -> None:
    """Dirty is what would be shipped and is not committed."""
    root = repository(tmp_path, "*.mo\n", "a.py", "shop/b.py")
    commit = run(root, "rev-parse", "HEAD")[:10]
    (root / "a.mo").touch()
    assert git.look(root).commit == commit
    (root / "shop/new.py").touch()
    assert git.look(root).commit == f"{commit}-dirty"
    assert git.look(root / "shop").commit == f"{commit}-dirty"
    (root / "shop/new.py").rename(root / "new.py")
    assert git.look(root / "shop").commit == commit, "what is beside the project does not count"


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    run(tmp_path, "init", "--quiet")
    assert git.look(tmp_path).commit == ""


def test_a_machine_without_git_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = repository(tmp_path, "*.mo\n", "a.mo")
    monkeypatch.setenv("PATH", "/nowhere")
    assert git.look(root).missing
    assert not git.look(tmp_path.parent).missing


def test_a_repository_that_git_does_not_read_is_refused(tmp_path: Path) -> None:
    root = repository(tmp_path, "*.mo\n", "a.mo")
    (root / ".git/config").write_text("[core]\nrepositoryformatversion = 99\n")
    with pytest.raises(GitError, match=r"git cannot read .*: .*version"):
        git.look(root)
