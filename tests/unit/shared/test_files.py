# SPDX-License-Identifier: GPL-3.0-or-later
"""The files module, on a folder of its own."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.trees import (
    as_content,
    list_files,
    pack,
    parse_mode,
    unpack,
)

from .conftest import Run

ME = {"owner": os.getuid(), "group": os.getgid()}


class Files:
    """Applies entries as the action would hand them over."""

    def __init__(self, run: Run, root: Path) -> None:
        self.run, self.root = run, root

    def __call__(self, *entries: dict[str, Any], **options: Any) -> dict[str, Any]:
        contents: dict[str, bytes] = {}
        files = []
        for entry in entries:
            path = str(self.root / entry["path"])
            shipped = {**ME, **entry, "path": path}
            if "content" in shipped:
                contents[path] = as_content(shipped.pop("content"))
            if "members" in shipped:
                members: dict[str, bytes] = shipped.pop("members")
                contents.update({f"{path}/{name}": content for name, content in members.items()})
                shipped["_members"] = sorted(members)
            files.append(shipped)
        result = self.run("files", files=files, _contents=pack(contents), **options)
        result["changed_paths"] = [os.path.relpath(path, self.root) for path in result["changed_paths"]]
        return result


@pytest.fixture
def files(run_module: Run, tmp_path: Path) -> Files:
    return Files(run_module, tmp_path)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keeps_lines_that_are_there(files: Files) -> None:
    """Behind the new content, also in a dry run and where there is no file yet."""
    entry = {"path": "users.acl", "content": "user new\n", "keep": "user (old|older) "}
    assert files(entry)["changed_paths"] == ["users.acl"]
    assert files(entry)["changed_paths"] == []
    (files.root / "users.acl").write_text("user old on #1\nuser oldest on #2\n# user old \nuser new on #3\n")
    assert files(entry, check=True)["changed_paths"] == ["users.acl"]
    assert files(entry)["changed_paths"] == ["users.acl"]
    assert (files.root / "users.acl").read_text() == "user new\nuser old on #1\n"
    assert files(entry)["changed_paths"] == []
    assert files({**entry, "keep": ""})["changed_paths"] == ["users.acl"]
    assert (files.root / "users.acl").read_text() == "user new\n"


def test_writes_a_file_once(files: Files) -> None:
    entry = {"path": "a.conf", "content": "one\n"}
    assert files(entry)["changed_paths"] == ["a.conf"]
    assert (files.root / "a.conf").read_text() == "one\n"
    assert mode_of(files.root / "a.conf") == 0o644
    assert files(entry)["changed"] is False
    assert os.listdir(files.root) == ["a.conf"]


def test_check_mode_changes_nothing_and_needs_neither_parent_nor_owner(files: Files) -> None:
    result = files(
        {"path": "new", "state": "directory", "owner": "nobody-has-this-name"},
        {"path": "new/a", "content": "x", "owner": "nobody-has-this-name", "group": "nor-this"},
        check=True,
    )
    assert result["changed_paths"] == ["new", "new/a"]
    assert os.listdir(files.root) == []


def test_an_unknown_owner_is_one_sentence(files: Files) -> None:
    result = files({"path": "a", "content": "x", "owner": "nobody-has-this-name"})
    assert result["failed"]
    assert result["msg"].endswith("there is no user nobody-has-this-name on this host.")


def test_a_missing_parent_is_one_sentence(files: Files) -> None:
    assert "list that folder before it" in files({"path": "no/a", "content": "x"})["msg"]


def test_repairs_the_mode_without_rewriting(files: Files) -> None:
    files({"path": "a", "content": "x"})
    before = (files.root / "a").stat()
    result = files({"path": "a", "content": "x", "mode": "0640"}, diff=True)
    after = (files.root / "a").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert mode_of(files.root / "a") == 0o640
    assert [each["after"]["mode"] for each in result["diff"]] == ["0640"]


def test_replaces_a_link_by_a_file_and_leaves_what_it_led_to(files: Files) -> None:
    (files.root / "other").write_text("other")
    (files.root / "a").symlink_to("other")
    files({"path": "a", "content": "mine"})
    assert not (files.root / "a").is_symlink()
    assert (files.root / "other").read_text() == "other"


def test_refuses_to_put_a_file_where_a_folder_is(files: Files) -> None:
    (files.root / "a").mkdir()
    assert "is a folder where a file is wanted" in files({"path": "a", "content": "x"})["msg"]


def test_a_secret_is_private_and_shows_nowhere(files: Files) -> None:
    first = files({"path": "s", "content": "hunter-2", "secret": True}, diff=True)
    assert mode_of(files.root / "s") == 0o600
    second = files({"path": "s", "content": "1", "secret": True}, diff=True)
    assert second["changed_paths"] == ["s"]
    for result in (first, second):
        assert "hunter-2" not in json.dumps(result)
        assert result["diff"][0]["after"] == "(new secret, not shown)\n"
        assert result["invocation"]["module_args"]["_contents"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


def test_a_diff_has_both_contents(files: Files) -> None:
    files({"path": "a", "content": "one\n"})
    diff = files({"path": "a", "content": "two\n"}, diff=True, check=True)["diff"]
    assert (diff[0]["before"], diff[0]["after"]) == ("one\n", "two\n")


def test_a_diff_of_certificates_is_one_line_that_tells_them_apart(files: Files) -> None:
    one, other = (f"-----BEGIN CERTIFICATE-----\n{text * 20}\n-----END CERTIFICATE-----\n" for text in ("AAAA", "BBBB"))

    def diff(*certificates: str) -> tuple[str, str]:
        content = "# Some CA\n" + "".join(certificates)
        (told,) = files({"path": "ca.pem", "content": content}, diff=True)["diff"]
        return told["before"], told["after"]

    before, first = diff(one)
    assert before == ""
    assert re.fullmatch(r"\(1 certificate or key, 145 bytes, SHA-256 [0-9a-f]{16}\)\n", first)
    before, both = diff(one, other)
    assert before == first
    assert both.startswith("(2 certificates or keys, ")
    before, second = diff(other)
    assert before == both
    assert second != first


def test_a_diff_shows_no_new_file_of_ours(files: Files) -> None:
    """What it holds is in the collection; how it changes is news."""
    entry = {"path": "launcher.py", "src": "launcher.py"}
    assert files({**entry, "content": "one\n"}, diff=True)["diff"][0]["after"] == "(4 bytes)\n"
    told = files({**entry, "content": "two\n"}, diff=True)["diff"][0]
    assert (told["before"], told["after"]) == ("one\n", "two\n")


def test_a_tree_is_copied_and_owned(files: Files) -> None:
    entry = {"path": "lib", "members": {"a.py": b"a", "deep/er/b.py": b"b"}}
    assert files(entry)["changed_paths"] == ["lib", "lib/deep", "lib/deep/er", "lib/a.py", "lib/deep/er/b.py"]
    lib = files.root / "lib"
    for stray in ("stray", "gone/c.py"):
        (lib / stray).parent.mkdir(exist_ok=True)
        (lib / stray).write_text("")
    (lib / "deep" / "__pycache__").mkdir()
    (lib / "deep" / "__pycache__" / "b.pyc").write_text("")
    result = files(entry)
    assert sorted(result["changed_paths"]) == ["lib/gone", "lib/gone/c.py", "lib/stray"]
    assert list_files(lib) == ["a.py", "deep/er/b.py"]
    assert (lib / "deep" / "__pycache__" / "b.pyc").exists()
    assert files(entry)["changed"] is False


def test_a_diff_of_a_tree_shows_what_changes_but_no_new_file(files: Files) -> None:
    def diffs(content: bytes) -> list[tuple[str, str]]:
        result = files({"path": "lib", "members": {"a.py": content}}, diff=True)
        return [(each["before"], each["after"]) for each in result["diff"]]

    assert diffs(b"one\n") == [("", "a folder\n"), ("", "(4 bytes)\n")]
    assert diffs(b"two\n") == [("one\n", "two\n")]


def test_absent_removes_files_folders_and_links(files: Files) -> None:
    (files.root / "keep").mkdir()
    (files.root / "d" / "e").mkdir(parents=True)
    (files.root / "f").write_text("")
    (files.root / "l").symlink_to("keep")
    entries = [{"path": name, "state": "absent"} for name in ("d", "f", "l", "never")]
    assert files(*entries)["changed_paths"] == ["d", "f", "l"]
    assert os.listdir(files.root) == ["keep"]


@pytest.mark.parametrize("value", ["0644", 0o644, "644"])
def test_modes(value: object) -> None:
    assert parse_mode(value) == 0o644


@pytest.mark.parametrize("value", ["rw", "u+x", "0999", 99999, -1, True, None, 1.5, []])
def test_what_is_no_mode_is_said_so(value: object) -> None:
    with pytest.raises(ValueError, match="is not a file mode"):
        parse_mode(value)


@pytest.mark.parametrize(
    ("value", "content"),
    [("text", b"text"), (b"\0", b"\0"), (None, b""), ({"b": 1, "a": "ü"}, b'{\n  "a": "\xc3\xbc",\n  "b": 1\n}\n')],
)
def test_contents(value: object, content: bytes) -> None:
    assert as_content(value) == content


def test_packing_keeps_every_byte() -> None:
    contents = {"/a": bytes(range(256)), "/b": b"", "/ü": "ü".encode()}
    assert unpack(pack(contents)) == contents
    assert unpack("") == {}


def test_a_file_in_which_a_service_keeps_its_state_is_written_once(files: Files) -> None:
    entry = {"path": "state.conf", "content": "first\n", "once": True}
    assert files(entry)["changed_paths"] == ["state.conf"]
    (files.root / "state.conf").write_text("its own\n")
    assert not files({**entry, "content": "second\n"})["changed"]
    assert (files.root / "state.conf").read_text() == "its own\n"
