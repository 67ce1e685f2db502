# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release this process belongs to, and staying with it.

Units start through the ``current`` link. A release that moves the link must not change what a running
worker imports lazily, so the process replaces itself, under the same PID, by the interpreter behind the link.
"""

import json
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_MARK = "CELERYOPS_PINNED"


def pinned_command(prefix: str, executable: str, orig_argv: list[str]) -> list[str] | None:
    """The command that starts this process again behind the link; None when no link is on the way.

    Only the environment's directory is resolved: ``bin/python`` is itself a link to the system's Python,
    and following that one would leave the virtual environment.
    """
    real = os.path.realpath(prefix)
    if real == prefix:
        return None
    return [os.path.join(real, "bin", os.path.basename(executable)), *orig_argv[1:]]


def pinned_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with every link in the module search path resolved."""
    pinned = dict(environ)
    if path := pinned.get("PYTHONPATH"):
        parts = path.split(os.pathsep)
        pinned["PYTHONPATH"] = os.pathsep.join(os.path.realpath(part) if part else part for part in parts)
    pinned["PWD"] = os.getcwd()
    pinned[_MARK] = "1"
    return pinned


def pin(environ: MutableMapping[str, str]) -> None:
    """Start again behind the link, if this process came through one. Returns when there is nothing to do."""
    if environ.pop(_MARK, None):
        return
    command = pinned_command(sys.prefix, sys.executable, sys.orig_argv)
    if command:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(command[0], command, pinned_environment(environ))  # noqa: S606 see above


def release_id(environ: Mapping[str, str], prefix: str = sys.prefix) -> str | None:
    """``$CELERYOPS_RELEASE``, or the name of the release directory that holds this virtual environment."""
    if named := environ.get("CELERYOPS_RELEASE"):
        return named
    directory = Path(os.path.realpath(prefix)).parent
    return directory.name if (directory / "release.json").is_file() else None


def commit(prefix: str = sys.prefix) -> str:
    """The commit that this release was made of, where it is known."""
    try:
        facts = json.loads(Path(os.path.realpath(prefix)).parent.joinpath("release.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(facts.get("commit", "")) if isinstance(facts, dict) else ""
