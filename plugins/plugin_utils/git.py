# SPDX-License-Identifier: GPL-3.0-or-later
"""What git says of a project's directory, on the controller."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


class GitError(Exception):
    """A repository that git does not read; the text is the sentence for the user."""


@dataclass(frozen=True)
class Checkout:
    """A directory as git sees it."""

    #: What it ignores, as paths from the directory; a whole folder has a slash at its end.
    ignored: frozenset[str] = frozenset()
    #: Its commit, as git shortens it; with "-dirty" where something in the directory is not committed.
    commit: str = ""
    #: The directory is in a repository, but there is no git on this machine that could be asked.
    missing: bool = False


NOTHING = Checkout()
"""Where there is no repository."""

SUBMODULES = ("submodule", "--quiet", "foreach", "--quiet", "--recursive", r'printf "%s\0" "$displaypath"')
COMMIT = ("rev-parse", "--quiet", "--verify", "--short=10", "HEAD")
IGNORED = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")


def look(root: Path) -> Checkout:
    """Ask git about a directory; one that it ignores as a whole is not its business."""
    root = root.resolve()
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return NOTHING
    try:
        if _git(root, "check-ignore", "--quiet", ".", answers=(0, 1)).returncode == 0:
            return NOTHING
        within = [place for place in _names(root, *SUBMODULES) if not place.startswith("../")]
        ignored = [os.path.join(place, name) for place in ("", *within) for name in _names(root / place, *IGNORED)]
        commit = os.fsdecode(_git(root, *COMMIT, answers=(0, 1, 128)).stdout).strip()
        changed = _git(root, "status", "--porcelain", "--", ".").stdout
    except FileNotFoundError:
        return Checkout(missing=True)
    return Checkout(frozenset(ignored), f"{commit}-dirty" if commit and changed else commit)


def _names(root: Path, *arguments: str) -> list[str]:
    return [os.fsdecode(name) for name in _git(root, *arguments).stdout.split(b"\0") if name]


def _git(root: Path, *arguments: str, answers: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[bytes]:
    """Run git in this directory, whatever repository the environment means: a hook's has another."""
    environment = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
    environment.pop("GIT_INDEX_FILE", None)
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, check=False, env={**environment, "LC_ALL": "C"})
    if done.returncode not in answers:
        said = os.fsdecode(done.stderr).strip().removeprefix("fatal: ") or f"exit code {done.returncode}"
        raise GitError(f"git cannot read {root}: {said}")
    return done
