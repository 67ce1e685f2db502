# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release of the application is made of, what it is called, and which old ones may go."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, Literal

from ansible_collections.celeryops.stack.plugins.module_utils.trees import IGNORED, list_files

EXCLUDED = IGNORED | {
    ".git", ".gitignore", ".gitattributes", ".hg", ".svn", ".venv", ".tox", ".nox", ".cache", ".idea", ".vscode",
    ".DS_Store", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".coverage", "*.egg-info",
    "node_modules", ".env",
}  # fmt: skip
"""What never belongs to a release: histories, caches, virtual environments, and a developer's secrets (.env)."""

EXCLUDED_AT_TOP = ("build", "dist")
"""What builds leave in a project's folder; deeper down these may be packages."""

NAMED = 4
"""So many things that git ignores are named."""

TIMESTAMP = 315619200
"""Every file's time in an archive: the second day of 1980, because wheels, being zip files, know no earlier year."""

NAME = r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[A-Za-z0-9._, -]+\])?\s*"
PINNED = re.compile(NAME + r"==\s*([A-Za-z0-9][A-Za-z0-9._+!-]*)")
UNPINNED = re.compile(NAME + r"([<>~!=,;].*)?")


class SourceError(Exception):
    """A source that no release can be made of; the text is the sentence for the user."""


@dataclass(frozen=True)
class Source:
    """Where the application comes from."""

    kind: Literal["directory", "wheel", "requirement"]
    location: str
    name: str
    version: str

    def identity(
        self,
        content: str,
        requirements: Sequence[str],
        python: str,
        app: str,
        build: Sequence[Sequence[str]] = (),
    ) -> str:
        """Name a release: the same name means the same application, checked, in the same virtual environment."""
        facts = json.dumps([self.kind, content, sorted(requirements), python, app, *([build] if build else [])])
        parts = (self.name, self.version, hashlib.sha256(facts.encode()).hexdigest()[:12])
        return "-".join(re.sub(r"[^A-Za-z0-9._+]+", "_", part) for part in parts if part)


def recognise(source: str, path: str, version: str | None = None) -> Source:
    """Say what a source is; path is its place on the controller, if it is one."""
    if os.path.isdir(path):
        name, found = project_of(Path(path))
        return Source("directory", path, name, version or found)
    if source.endswith(".whl"):
        if not os.path.isfile(path):
            raise SourceError(f"the wheel {source} does not exist on the controller (looked at {path})")
        name, found = [*os.path.basename(path).split("-"), ""][:2]
        return Source("wheel", path, name, version or found)
    if pinned := PINNED.fullmatch(source.strip()):
        return Source("requirement", source.strip(), pinned[1], version or pinned[2])
    if UNPINNED.fullmatch(source.strip()):
        raise SourceError(f"{source} is not pinned: write one exact version, such as shop==1.2.0, or a project's path")
    raise SourceError(f"{source} does not exist on the controller (looked at {path})")


def project_of(root: Path) -> tuple[str, str]:
    """Read a project's name and version, where they are cheaply known."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        project = {}
    return str(project.get("name", root.resolve().name)), str(project.get("version", ""))


def matches(name: str, patterns: Collection[str]) -> bool:
    """Whether a file, or a folder that it is in, is meant: by its name, or with a slash by its path in the project."""
    places = [name, *(str(parent) for parent in Path(name).parents if parent.name)]
    return any(
        fnmatchcase(place if "/" in pattern else Path(place).name, pattern.strip("/"))
        for pattern in patterns
        for place in places
    )


@dataclass(frozen=True)
class Choice:
    """What of a project's folder belongs into a release."""

    shipped: list[str]
    #: What stays at home for no other reason than that git ignores it, as git calls it.
    ignored: list[str]


def choose(root: Path, exclude: Collection[str] = (), ignored: Collection[str] = ()) -> Choice:
    """Choose it: what is excluded with a ``!`` is shipped although git ignores it, or another entry excludes it."""
    kept = [pattern[1:] for pattern in exclude if pattern.startswith("!")]
    unwanted = [pattern for pattern in exclude if not pattern.startswith("!")]
    listed = list_files(root, EXCLUDED)
    leftovers = [f"{name}/" for name in EXCLUDED_AT_TOP]
    leftovers += [f"{Path(name).parent}/" for name in listed if Path(name).name == "pyvenv.cfg"]
    shipped, left = [], set()
    for name in listed:
        if matches(name, kept):
            shipped.append(name)
        elif name.startswith(tuple(leftovers)) or matches(name, unwanted):
            continue
        elif entry := next((each for each in (name, *(f"{up}/" for up in Path(name).parents)) if each in ignored), ""):
            left.add(entry)
        else:
            shipped.append(name)
    return Choice(shipped, sorted(left))


def left_out(ignored: Sequence[str], release: str) -> str:
    """Tell that something stays at home, and how to decide about it."""
    named = list(ignored) if len(ignored) <= NAMED + 1 else [*ignored[:NAMED], f"{len(ignored) - NAMED} more"]
    listed = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    return (
        f"git ignores {listed}, so {release} is without {'it' if len(ignored) == 1 else 'them'}; for each, write into "
        f"app_exclude '/{ignored[0].rstrip('/')}' if that is right, or '!/{ignored[0].rstrip('/')}' to ship it"
    )


def write_archive(root: Path, stream: BinaryIO, members: Sequence[str]) -> str:
    """Write a project as tar.gz, and return its hash; equal contents give an equal hash anywhere, any time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in members:
            add(archive, root, name)
    content = plain.getvalue()
    with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0, filename="", compresslevel=6) as packed:
        packed.write(content)
    return hashlib.sha256(content).hexdigest()


def add(archive: tarfile.TarFile, root: Path, name: str) -> None:
    """Add one member, without anything that differs between two checkouts of the same state."""
    path = root / name
    member = tarfile.TarInfo(name)
    member.mtime = TIMESTAMP
    if path.is_symlink():
        target = os.readlink(path)
        if os.path.isabs(target) or os.path.normpath(os.path.join(os.path.dirname(name), target)).startswith(".."):
            raise SourceError(f"the link {path} leads out of the project, to {target}: replace it by what it points to")
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
        archive.addfile(member)
    elif path.is_file():
        content = path.read_bytes()
        member.size, member.mode = len(content), 0o755 if os.access(path, os.X_OK) else 0o644
        archive.addfile(member, io.BytesIO(content))


@dataclass(frozen=True)
class Installed:
    """A release on a host."""

    name: str
    complete: bool
    installed_at: float


def to_prune(releases: Collection[Installed], protected: Collection[str], keep: int) -> list[str]:
    """Choose the releases to remove: all but the newest `keep`, and never a protected one."""
    complete = sorted((each for each in releases if each.complete), key=lambda each: each.installed_at, reverse=True)
    kept = [each.name for each in complete if each.name in protected]
    kept += [each.name for each in complete if each.name not in protected][: max(keep - len(kept), 0)]
    return sorted(each.name for each in releases if each.name not in kept and each.name not in protected)


def commands_of(value: Sequence[object]) -> list[list[str]]:
    """Commands as lists of words; a single one may stand alone."""
    listed = [list(each) for each in value if isinstance(each, (list, tuple))] or [list(value)]
    return [[str(word) for word in command] for command in listed if command]


def lock_file(names: Collection[str]) -> str | None:
    """Choose the file that lists a project's dependencies."""
    return next((name for name in ("requirements.lock", "requirements.txt") if name in names), None)
