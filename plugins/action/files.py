# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather what many files shall contain, on the controller, and hand it to the module in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.celeryops.stack.plugins.module_utils.trees import as_content, list_files, pack

SOURCES = ("content", "template", "src", "tree")


def source_of(entry: Mapping[str, Any]) -> str | None:
    """Name the one source that an entry has; none for folders and things to remove."""
    path = entry.get("path")
    given = [name for name in SOURCES if entry.get(name) is not None]
    state = entry.get("state", "file")
    if not isinstance(path, str) or not path.startswith("/"):
        raise AnsibleActionFail(f"files: path {path!r} is not an absolute path.")
    if state == "file" and len(given) != 1:
        raise AnsibleActionFail(f"files: {path} needs exactly one of {', '.join(SOURCES)}.")
    if state != "file" and given:
        raise AnsibleActionFail(f"files: {path} has state: {state}, so it takes no {given[0]}.")
    return given[0] if given else None


class ActionModule(ActionBase):
    """Render the templates, read the files, call the module once."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    _VALID_ARGS = frozenset({"files"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do it."""
        super().run(tmp, task_vars)
        entries = self._task.args.get("files")
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise AnsibleActionFail("files: `files` must be a list of mappings, each with a path.")
        contents: dict[str, bytes] = {}
        shipped = [self._gather(dict(entry), contents, task_vars or {}) for entry in entries]
        result: dict[str, Any] = self._execute_module(
            module_name="celeryops.stack.files",
            module_args={"files": shipped, "_contents": pack(contents)},
            task_vars=task_vars,
        )
        return result

    def _gather(self, entry: dict[str, Any], contents: dict[str, bytes], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Move the entry's contents into contents, and return the rest of it."""
        source = source_of(entry)
        if source is None:
            return entry
        path, value, variables = entry["path"], entry.pop(source), entry.pop("vars", None) or {}
        if source == "content":
            contents[path] = as_content(value)
        elif source == "template":
            contents[path] = self._render(value, path, {**task_vars, **variables})
        elif source == "src":
            contents[path] = Path(self._find("files", value)).read_bytes()
            entry["src"] = value  # a diff need not show it
        else:
            root = Path(self._find("files", value))
            members = list_files(root)
            contents.update({os.path.join(path, name): (root / name).read_bytes() for name in members})
            entry["_members"] = members
        return entry

    def _find(self, folder: str, name: str) -> str:
        try:
            return str(self._find_needle(folder, name))
        except AnsibleError as error:
            raise AnsibleActionFail(f"files: {error}") from None

    def _render(self, name: str, path: str, variables: dict[str, Any]) -> bytes:
        """Render a template as ansible.builtin.template does."""
        source = self._find("templates", name)
        roots = [*variables.get("ansible_search_path", []), self._loader.get_basedir(), os.path.dirname(source)]
        search = [place for root in roots for place in (os.path.join(root, "templates"), root)]
        variables.setdefault("ansible_managed", "Ansible managed")
        variables.update(template_path=name, template_fullpath=source, template_destpath=path)
        templar = self._templar.copy_with_new_env(searchpath=search, available_variables=variables)
        text = trust_as_template(self._loader.get_text_file_contents(source))
        try:
            rendered = templar.template(text, escape_backslashes=False, overrides={"trim_blocks": True})
        except AnsibleError as error:
            raise AnsibleActionFail(f"files: template {name} for {path}: {error}") from None
        return as_content(rendered)
