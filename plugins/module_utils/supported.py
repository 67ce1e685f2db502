# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of Celery, and of what it speaks through, that the workers' runtime was made for."""

from __future__ import annotations

import os
import re
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Range:
    """The lowest and the highest version with which everything was tried, and the first that is too new."""

    lowest: str
    highest: str
    below: str


#: Celery before 5.7 lets a task that kills its worker come back for ever on Redis, and shows passwords to who asks a
#: worker; kombu and billiard are those that it needs. redis-py before 8 speaks to Sentinels in another way.
SUPPORTED = {
    "celery": Range("5.7.0", "5.7.0", "5.8"),
    "kombu": Range("5.7.0", "5.7.0", "5.8"),
    "billiard": Range("4.3.2", "4.3.2", "4.4"),
    "amqp": Range("5.4.2", "5.4.2", "5.5"),
    "redis": Range("8.0.0", "8.1.0", "8.2"),
}

_LINE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?([^;#@]*?)\)?\s*(?:[;#].*)?$")
_CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([0-9][A-Za-z0-9.+!_-]*(?:\.\*)?)")
_RELEASE = re.compile(r"^(\d+(?:\.\d+)*)(?:\.?(a|b|c|rc|alpha|beta|pre|preview|dev))?", re.IGNORECASE)


def key(version: str) -> tuple[tuple[int, ...], bool]:
    """Versions in their order; one that is not final is before its final one."""
    found = _RELEASE.match(version.strip().removesuffix(".*"))
    numbers = [int(part) for part in found[1].split(".")] if found else [0]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers), not (found and found[2])


def is_supported(name: str, version: str) -> bool:
    """Whether this version of a package is among those; other packages may be of any."""
    bounds = SUPPORTED.get(name)
    return bounds is None or key(bounds.lowest) <= key(version) < (key(bounds.below)[0], False)


def packages(uses_redis: bool) -> list[str]:
    """Those that matter; without Redis as broker and result backend its client is the application's own affair."""
    return [name for name in SUPPORTED if uses_redis or name != "redis"]


def installed_problems(versions: Mapping[str, str], uses_redis: bool = True) -> list[str]:
    """One sentence for each package whose version is none of them."""
    return [
        f"{name} {versions[name]} is installed, with which the workers' runtime was not tried; {_remedy(name)}"
        for name in packages(uses_redis)
        if name in versions and not is_supported(name, versions[name])
    ]


def _remedy(name: str) -> str:
    bounds = SUPPORTED[name]
    span = bounds.highest if bounds.lowest == bounds.highest else f"{bounds.lowest} to {bounds.highest}"
    return f"write {name}=={bounds.highest} into the application's requirements (tried: {span})"


def required_problems(where: str, requirements: Iterable[str], uses_redis: bool = True) -> list[str]:
    """One sentence for each requirement that none of the versions fulfils."""
    found = []
    for line in requirements:
        match = _LINE.match(line.strip())
        name = re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""
        if match and name in packages(uses_redis) and not _admits(name, match[2]):
            asked = f"{name}{match[2].strip()}"
            found.append(f"{where} asks for {asked}, with which the workers' runtime was not tried; {_remedy(name)}")
    return found


def _admits(name: str, specifier: str) -> bool:
    """Whether one of the versions is among those asked for; what cannot be read is seen when it is installed."""
    clauses = _CLAUSE.findall(specifier)
    bounds = SUPPORTED[name]
    pinned = [version for operator, version in clauses if operator in ("==", "===") and not version.endswith("*")]
    candidates = [bounds.lowest, bounds.highest, *(version for version in pinned if is_supported(name, version))]
    return any(all(_holds(each, operator, version) for operator, version in clauses) for each in candidates)


def _holds(version: str, operator: str, bound: str) -> bool:
    ours, theirs = key(version), key(bound)
    same = ours[0][: len(theirs[0])] == theirs[0] if bound.endswith("*") else ours == theirs
    if operator == "~=":
        series = tuple(int(part) for part in re.findall(r"\d+", bound)[: bound.count(".")])
        return ours >= theirs and (ours[0] + (0,) * len(series))[: len(series)] == series
    results = {"==": same, "===": same, "!=": not same, "<": ours < theirs, ">": ours > theirs}
    return {**results, "<=": ours <= theirs, ">=": ours >= theirs}[operator]


def requirements_of(source: str) -> Iterator[tuple[str, list[str]]]:
    """What an application on this machine asks for: the files that say so, each with its requirements."""
    path = Path(source)
    if path.suffix == ".whl" and path.is_file():
        yield path.name, _of_wheel(path)
    elif path.is_dir():
        names = os.listdir(path)
        locked = next((name for name in ("requirements.lock", "requirements.txt") if name in names), None)
        if locked:
            yield from _of_file(path / locked, set())
        if "pyproject.toml" in names:
            yield "pyproject.toml", _of_project(path / "pyproject.toml")


def _of_file(path: Path, seen: set[Path]) -> Iterator[tuple[str, list[str]]]:
    """A requirements file, and those that it includes."""
    if path in seen or not path.is_file():
        return
    seen.add(path)
    text = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
    lines = [re.sub(r"\s--hash=\S+", "", line).strip() for line in text.splitlines()]
    # Of options only what is installed from elsewhere counts: nobody knows here what it brings.
    yield path.name, [line for line in lines if re.match(r"[^#-]|-e|--editable", line)]
    for line in lines:
        if included := re.match(r"(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)", line):
            yield from _of_file(path.parent / included[1], seen)


def _of_project(path: Path) -> list[str]:
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {}).get("dependencies", [])
    except (OSError, ValueError, AttributeError):
        return []
    return [str(each) for each in listed] if isinstance(listed, list) else []


def _of_wheel(path: Path) -> list[str]:
    """Its own metadata; requirements of extras, which have a marker, are not its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(each for each in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each))
            lines = archive.read(name).decode("utf-8", "replace").splitlines()
    except (OSError, zipfile.BadZipFile, StopIteration):
        return []
    found = [line.removeprefix("Requires-Dist:").strip() for line in lines if line.startswith("Requires-Dist:")]
    return [line for line in found if "extra ==" not in line]


def installed(site_packages: Iterable[str]) -> dict[str, str]:
    """Package and version, of those packages that are in these folders."""
    found = {}
    for folder in site_packages:
        for entry in os.listdir(folder):
            if match := re.fullmatch(r"(\w[\w.]*)-([^-]+)\.dist-info", entry):
                found[match[1].lower()] = match[2]
    return {name: version for name, version in found.items() if name in SUPPORTED}
