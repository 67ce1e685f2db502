# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack the application on the controller, and send it only to hosts that do not have it yet."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeryops.stack.plugins.action.venv import hide
from ansible_collections.celeryops.stack.plugins.module_utils.releases import (
    Choice,
    Source,
    SourceError,
    choose,
    commands_of,
    left_out,
    recognise,
    write_archive,
)
from ansible_collections.celeryops.stack.plugins.plugin_utils import git


def content_of(source: Source, archive: Path, members: Sequence[str]) -> str:
    """Return what identifies a source's content; a project's folder is packed into archive on the way."""
    if source.kind == "requirement":
        return source.location
    if source.kind == "wheel":
        return hashlib.sha256(Path(source.location).read_bytes()).hexdigest()
    with archive.open("wb") as stream:
        return write_archive(Path(source.location), stream, members)


def left_at_home(choice: Choice, seen: git.Checkout, root: Path, release: str) -> list[str]:
    """Tell what git ignores: a release without a file that the application needs is hard to understand."""
    if seen.missing:
        return [f"There is no git on this machine, so {release} has what git ignores in {root}, too; install git"]
    return [left_out(choice.ignored, release)] if choice.ignored else []


class ActionModule(ActionBase):
    """Ask the host first; transfer only what it lacks."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        arguments["_environment"] = hide(arguments.pop("environment", None) or {})
        source = arguments.get("source")
        if not source:
            return self._call(arguments, task_vars)
        handle, name = tempfile.mkstemp(suffix=".tar.gz", dir=constants.DEFAULT_LOCAL_TMP)
        os.close(handle)
        archive = Path(name)
        try:
            found = recognise(str(source), self._loader.path_dwim(str(source)), arguments.get("version"))
            exclude = [str(each) for each in arguments.pop("exclude", None) or []]
            root = Path(found.location)
            seen = git.look(root) if found.kind == "directory" else git.NOTHING
            choice = choose(root, exclude, seen.ignored) if found.kind == "directory" else Choice([], [])
            content = content_of(found, archive, choice.shipped)
            arguments["_commit"] = seen.commit
            requirements = [str(each) for each in arguments.get("requirements") or []]
            arguments["_kind"] = found.kind
            arguments["_release"] = found.identity(
                content,
                requirements,
                str(arguments.get("python") or "/usr/bin/python3"),
                str(arguments.get("app")),
                commands_of(arguments.get("build") or []),
            )
            result = self._call(arguments, task_vars)
            if result.pop("_needs_content", False) and not result.get("failed"):
                shipped = found.location if found.kind == "wheel" else name
                result = self._call({**arguments, "_content": self._ship(shipped)}, task_vars)
                result.pop("_needs_content", None)
            if result.get("built"):
                result.setdefault("warnings", []).extend(left_at_home(choice, seen, root, arguments["_release"]))
            return result
        except (SourceError, git.GitError) as problem:
            raise AnsibleActionFail(f"release: {problem}.") from None
        finally:
            archive.unlink(missing_ok=True)
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _call(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="celeryops.stack.release", module_args=arguments, task_vars=task_vars
        )
        return result

    def _ship(self, path: str) -> str:
        """Put a file into a temporary folder of the host; a wheel's name has a meaning, so it stays."""
        folder = self._connection._shell.tmpdir or self._make_tmp_path()
        place: str = self._connection._shell.join_path(folder, os.path.basename(path))
        self._transfer_file(path, place)
        self._fixup_perms2((folder, place))
        return place
