#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring many files and folders into their wanted state in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Bring many files, folders and trees into their wanted state in one task
description:
  - Every file is written beside its place and renamed into it, so a reader sees the old content or the new one.
  - Templates and sources are looked up in the role, as M(ansible.builtin.template) and M(ansible.builtin.copy) do.
  - Contents travel in one hidden parameter, so none shows in Ansible's output or in the host's log.
author: celeryops.stack maintainers (@celeryops)
options:
  files:
    description: The files, in the order in which they are handled; a folder stands before what is in it.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path on the host.
        type: str
        required: true
      state:
        description:
          - V(file) needs exactly one of O(files[].content), O(files[].template), O(files[].src), O(files[].tree).
          - V(absent) removes a folder with everything in it.
        type: str
        choices: [file, directory, absent]
        default: file
      content:
        description: The content; a list or mapping is written as JSON.
        type: raw
      template:
        description: Name of a template of the role.
        type: str
      vars:
        description: Additional variables for O(files[].template).
        type: dict
      src:
        description: Name of a file of the role, copied as it is. A diff shows what changes in it, not all of a new one.
        type: str
      tree:
        description:
          - Name of a folder in the role's files, copied as it is into the folder O(files[].path).
          - That folder then belongs to this entry, whatever else is in it is removed, except C(__pycache__).
          - A diff shows what changes in a file of it, not all of a new one.
        type: str
      owner:
        description: Owner, by name or number.
        type: raw
        default: root
      group:
        description: Group, by name or number.
        type: raw
        default: root
      mode:
        description:
          - Mode in octal, in quotes.
          - The default is V(0644), V(0600) for a secret, V(0755) for a folder.
          - For O(files[].tree) it is the mode of the files.
        type: raw
      directory_mode:
        description: Mode of the folders of O(files[].tree).
        type: raw
        default: "0755"
      keep:
        description: A regular expression. Lines of the file as it is that begin with it are put behind the new content.
        type: str
      secret:
        description: Whether to keep the content out of the diff.
        type: bool
        default: false
      once:
        description: Whether to leave a file that is there as it is, because a service keeps its own state in it.
        type: bool
        default: false
      claim:
        description:
          - Makes the file the mark of whose the host is. The names of the deployment whose mark may stand there.
          - Where it is another's, no file of the task is changed, and the task fails.
        type: list
        elements: str
      _members:
        description: Internal use only.
        type: list
        elements: str
  _contents:
    description: Internal use only.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says what it would change, also where owners and parent folders do not exist yet.
    support: full
  diff_mode:
    description:
      - Shows every changed file, except the content of secrets. Of certificates it shows a hash.
    support: full
"""

EXAMPLES = r"""
- name: Configure | Write the service's files
  celeryops.stack.files:
    files:
      - {path: /etc/shop, state: directory}
      - {path: /etc/shop/shop.conf, template: shop.conf.j2, vars: {port: 8000}}
      - {path: /etc/shop/token, content: "{{ shop_token }}", mode: "0600", secret: true}
      - {path: /opt/shop/lib, tree: lib}
      - {path: /etc/shop/old.conf, state: absent}
"""

RETURN = r"""
changed_paths:
  description: The paths whose content, owner or mode changed, or that were created or removed.
  type: list
  elements: str
  returned: always
"""

import grp
import hashlib
import os
import pwd
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils import ownership
from ansible_collections.celeryops.stack.plugins.module_utils.trees import IGNORED, list_files, parse_mode, unpack

LONGEST_DIFF = 256 * 1024


class Impossible(Exception):
    """The wanted state can not be reached; the text is the sentence for the user."""


@dataclass(frozen=True)
class Attributes:
    """Owner, group and mode; an id is None when nobody has the name yet (check mode on a virgin host)."""

    uid: int | None
    gid: int | None
    mode: int

    @classmethod
    def of(cls, path: str) -> Attributes:
        """Read those of path."""
        found = os.lstat(path)
        return cls(found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))

    def apply(self, path: str) -> None:
        """Set them; the owner first, because that clears the setuid bits."""
        os.chown(path, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
        os.chmod(path, self.mode)

    def shown(self) -> dict[str, Any]:
        """Return what a diff shows."""
        return {"owner": self.uid, "group": self.gid, "mode": f"{self.mode:04o}"}


def number_of(name: Any, kind: str, check_mode: bool) -> int | None:
    """Find the id of a user or group given by name or number."""
    text = str(name)
    if text.isdecimal():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid if kind == "user" else grp.getgrnam(text).gr_gid
    except KeyError:
        if check_mode:
            return None
        raise Impossible(f"there is no {kind} {text} on this host") from None


@dataclass
class Converger:
    """Applies entries one by one, and remembers what changed."""

    check_mode: bool
    changed: list[str] = field(default_factory=list)
    diffs: list[dict[str, Any]] = field(default_factory=list)

    def apply(self, entry: dict[str, Any], contents: dict[str, bytes]) -> None:
        """Apply one entry."""
        path = os.path.normpath(entry["path"])
        if not os.path.isabs(path) or path == "/":
            raise Impossible(f"{entry['path']} is not an absolute path below /")
        if entry["state"] == "absent":
            self.remove(path)
            return
        if entry["once"] and os.path.isfile(path):
            return
        plain = "0755" if entry["state"] == "directory" else "0600" if entry["secret"] else "0644"
        wanted = self._attributes(entry, plain if entry["mode"] is None else entry["mode"])
        if entry["state"] == "directory":
            self.directory(path, wanted)
        elif entry["_members"] is None:
            content = contents[entry["path"]] + kept_lines(path, entry["keep"])
            self.file(path, content, wanted, secret=entry["secret"], brief=entry["src"] is not None)
        else:
            folders = self._attributes(entry, entry["directory_mode"])
            members = {name: contents[os.path.join(entry["path"], name)] for name in entry["_members"]}
            self.tree(path, members, wanted, folders, secret=entry["secret"])

    def _attributes(self, entry: dict[str, Any], mode: object) -> Attributes:
        return Attributes(
            number_of(entry["owner"], "user", self.check_mode),
            number_of(entry["group"], "group", self.check_mode),
            parse_mode(mode),
        )

    def tree(
        self, path: str, members: dict[str, bytes], files: Attributes, folders: Attributes, *, secret: bool = False
    ) -> None:
        """Make path contain members and nothing else."""
        inner = sorted({str(parent) for name in members for parent in Path(name).parents} - {"."})
        self.directory(path, folders)
        if os.path.isdir(path):
            self._remove_strays(path, set(members), set(inner))
        for name in inner:
            self.directory(os.path.join(path, name), folders)
        for name, content in members.items():
            self.file(os.path.join(path, name), content, files, secret=secret, brief=True)

    def _remove_strays(self, path: str, members: set[str], inner: set[str]) -> None:
        for name in list_files(Path(path)):
            if name not in members:
                self.remove(os.path.join(path, name))
        for folder, folders, _files in os.walk(path, topdown=False):
            for name in folders:
                full = os.path.join(folder, name)
                within = os.path.relpath(full, path)
                ours = IGNORED.isdisjoint(Path(within).parts)
                if ours and within not in inner and not os.path.islink(full) and os.path.isdir(full):
                    self.remove(full)

    def directory(self, path: str, wanted: Attributes) -> None:
        """Make path a folder with these attributes."""
        if os.path.isdir(path):
            self._repair(path, wanted)
            return
        if os.path.lexists(path):
            raise Impossible(f"{path} exists and is not a folder: move it away")
        self._note(path, before="", after="a folder\n")
        if not self.check_mode:
            self._need_parent(path)
            os.mkdir(path, 0o700)
            wanted.apply(path)

    def file(self, path: str, content: bytes, wanted: Attributes, *, secret: bool = False, brief: bool = False) -> None:
        """Make path a regular file with this content and these attributes; a brief diff does not show a new one."""
        if os.path.isdir(path) and not os.path.islink(path):
            raise Impossible(f"{path} is a folder where a file is wanted: move it away")
        plain = os.path.isfile(path) and not os.path.islink(path)
        old = Path(path).read_bytes() if plain else None
        if old == content:
            self._repair(path, wanted)
            return
        after = f"({len(content)} bytes)\n" if brief and old is None else shown(content, secret, "new")
        self._note(path, before=shown(old, secret, "old"), after=after)
        if not self.check_mode:
            self._need_parent(path)
            write(path, content, wanted)

    def remove(self, path: str) -> None:
        """Make path not exist."""
        if not os.path.lexists(path):
            return
        folder = os.path.isdir(path) and not os.path.islink(path)
        self._note(path, before="a folder\n" if folder else "a file\n", after="")
        if self.check_mode:
            return
        if folder:
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def _repair(self, path: str, wanted: Attributes) -> None:
        found = Attributes.of(os.path.realpath(path))
        if found != wanted:
            self._note(path, before=found.shown(), after=wanted.shown())
            if not self.check_mode:
                wanted.apply(path)

    def _need_parent(self, path: str) -> None:
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            raise Impossible(f"{path} can not be written, because {parent} does not exist: list that folder before it")

    def _note(self, path: str, before: object, after: object) -> None:
        self.changed.append(path)
        self.diffs.append({"before": before, "after": after, "before_header": path, "after_header": path})


def kept_lines(path: str, keep: str | None) -> bytes:
    """The lines of a file, where there is one, that begin with this regular expression."""
    if not keep or not os.path.isfile(path):
        return b""
    lines = Path(path).read_bytes().splitlines(keepends=True)
    return b"".join(line for line in lines if re.match(keep, line.decode(errors="replace")))


def shown(content: bytes | None, secret: bool, which: str) -> str:
    """Return what a diff shows of a content."""
    if content is None:
        return ""
    if secret:
        return f"({which} secret, not shown)\n"
    if blocks := content.count(b"-----BEGIN "):  # nobody reads them
        counted = "1 certificate or key" if blocks == 1 else f"{blocks} certificates or keys"
        return f"({counted}, {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()[:16]})\n"
    if len(content) > LONGEST_DIFF:
        return f"({which} content, {len(content)} bytes)\n"
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"({which} binary content, {len(content)} bytes)\n"


def write(path: str, content: bytes, wanted: Attributes) -> None:
    """Write beside path and rename, so that nobody ever sees half a file or a wrong mode."""
    handle, temporary = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        wanted.apply(temporary)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


ENTRY: dict[str, dict[str, Any]] = {
    "path": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["file", "directory", "absent"], "default": "file"},
    "content": {"type": "raw"},
    "template": {"type": "str"},
    "vars": {"type": "dict"},
    "src": {"type": "str"},
    "tree": {"type": "str"},
    "owner": {"type": "raw", "default": "root"},
    "group": {"type": "raw", "default": "root"},
    "mode": {"type": "raw"},
    "directory_mode": {"type": "raw", "default": "0755"},
    "keep": {"type": "str"},
    "secret": {"type": "bool", "default": False, "no_log": False},
    "once": {"type": "bool", "default": False},
    "claim": {"type": "list", "elements": "str"},
    "_members": {"type": "list", "elements": "str"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": ENTRY},
            "_contents": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    contents = unpack(module.params["_contents"])
    claims = (entry for entry in module.params["files"] if entry["claim"])
    for problem in (ownership.problem(ownership.found(entry["path"]), entry["claim"]) for entry in claims):
        if problem:
            module.fail_json(msg=f"{problem[0].upper()}{problem[1:]}.", changed_paths=[])
    work = Converger(check_mode=module.check_mode)
    for entry in module.params["files"]:
        try:
            work.apply(entry, contents)
        except (Impossible, ValueError) as problem:
            module.fail_json(msg=f"files: {entry['path']}: {problem}.", changed_paths=work.changed)
        except OSError as problem:
            module.fail_json(msg=f"files: {entry['path']}: {problem.strerror}.", changed_paths=work.changed)
    result: dict[str, Any] = {"changed": bool(work.changed), "changed_paths": work.changed}
    if module._diff:
        result["diff"] = work.diffs
    module.exit_json(**result)


if __name__ == "__main__":
    main()
