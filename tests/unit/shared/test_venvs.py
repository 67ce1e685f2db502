# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments, without building any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import venvs
from ansible_collections.celeryops.stack.plugins.module_utils.trees import pack
from ansible_collections.celeryops.stack.plugins.module_utils.venvs import BuildError, Requirements, Uv

from .conftest import Run

UV = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
--version) echo "uv {version}" ;;
venv) for path; do :; done; mkdir -p "$path/bin" ;;
pip)
  grep -q unobtainable "{folder}/new.new/.requirements.txt" || exit 0
  echo "no such thing at https://me:pw@index/" >&2
  exit 1 ;;
esac
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    program = tmp_path / "tools" / "bin" / "uv"
    program.parent.mkdir(parents=True)
    program.write_text(UV.format(log=tmp_path / "log", version=venvs.UV_VERSION, folder=tmp_path))
    program.chmod(0o755)
    return tmp_path / "tools"


def test_builds_once_and_again_when_something_changed(tools: Path, run_module: Run) -> None:
    def venv(*requirements: str, **options: Any) -> dict[str, Any]:
        path = tools.parent / "new"
        return run_module("venv", path=str(path), tools=str(tools), requirements=list(requirements), **options)

    assert venv("a==1", check=True)["changed"]
    assert not (tools.parent / "new").exists()
    assert venv("a==1")["changed_paths"] == [str(tools.parent / "new")]
    assert venv("a==1")["changed"] is False
    result = venv("a==2", check=True, diff=True)
    assert (result["diff"]["before"], result["diff"]["after"]) == ("a==1\n", "a==2\n")
    failed = venv("unobtainable==1")
    assert failed["failed"]
    assert failed["msg"].endswith("no such thing at https://***@index/")
    assert sorted(path.name for path in tools.parent.iterdir()) == ["log", "new", "tools"]
    assert venv("a==1")["changed"] is False


def test_its_environment_is_never_shown(tools: Path, run_module: Run) -> None:
    hidden = pack({"environment": json.dumps({"PIP_INDEX_URL": "https://me:pw@index/", "ONE": "1"}).encode()})
    arguments = {"path": str(tools.parent / "new"), "tools": str(tools), "requirements": ["a==1"]}
    result = run_module("venv", **arguments, _environment=hidden)
    assert "pw" not in json.dumps(result)
    assert result["invocation"]["module_args"]["requirements"] == ["a==1"]


def test_a_missing_interpreter_is_one_sentence(tools: Path, run_module: Run) -> None:
    arguments = {"path": str(tools.parent / "new"), "tools": str(tools), "python": "/no/python"}
    assert run_module("venv", **arguments)["msg"].startswith("venv: there is no Python at /no/python")
    assert run_module("venv", **arguments, check=True)["changed"]


def test_a_python_without_venv_is_one_sentence(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho 'ensurepip is not available' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(BuildError, match="install the package python3-venv"):
        Uv(str(tmp_path / "tools"), str(python), {}).ensure()


def test_a_build_that_fails_names_the_command() -> None:
    with pytest.raises(BuildError) as failed:
        venvs.run(["sh", "-c", "echo one; echo two >&2; exit 4"], {"PATH": "/usr/bin:/bin"}, "installing into x")
    assert str(failed.value) == (
        "installing into x failed: sh -c 'echo one; echo two >&2; exit 4' ended with exit code 4: two"
    )
    assert failed.value.result("release")["output"] == "one\ntwo"


def test_a_fingerprint_covers_the_files_contents(tmp_path: Path) -> None:
    listed = tmp_path / "requirements.txt"
    listed.write_text("a==1")
    wanted = Requirements(files=(str(listed),))
    first = wanted.fingerprint("3.11")
    listed.write_text("a==2")
    assert len({first, wanted.fingerprint("3.11"), wanted.fingerprint("3.12")}) == 3


def test_pip_and_uv_get_each_others_settings() -> None:
    assert venvs.both_ways({"PIP_CERT": "/a", "UV_DEFAULT_INDEX": "u", "X": "1"}) == {
        "PIP_CERT": "/a",
        "SSL_CERT_FILE": "/a",
        "UV_DEFAULT_INDEX": "u",
        "PIP_INDEX_URL": "u",
        "X": "1",
    }
    assert venvs.both_ways({"PIP_CERT": "/a", "SSL_CERT_FILE": "/b"}) == {"PIP_CERT": "/a", "SSL_CERT_FILE": "/b"}
