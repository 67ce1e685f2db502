# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments, made by uv."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.failures import Failure, ended

UV_VERSION = "0.13.9"
MARKER = ".celeryops.json"
#: What timeout(1) exits with.
TIMED_OUT = 124

FROM_PIP = {
    "PIP_CERT": "SSL_CERT_FILE",
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_NO_INDEX": "UV_NO_INDEX",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
}
"""The settings that pip and uv call by different names."""


class BuildError(Failure):
    """Something could not be built."""


@dataclass(frozen=True)
class Requirements:
    """What a virtual environment shall contain; everything here makes up its fingerprint."""

    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    no_deps: bool = False
    require_hashes: bool = False

    def fingerprint(self, python: str) -> str:
        """Hash all of it, with the contents of the files and the interpreter's version."""
        facts = dataclasses.asdict(self)
        facts["files"] = [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in self.files]
        return hashlib.sha256(json.dumps([facts, python], sort_keys=True).encode()).hexdigest()

    def arguments(self) -> list[str]:
        """Return them as `uv pip install` reads them, except requirements and constraints, which come as files."""
        options = [f"--requirements={name}" for name in self.files]
        return options + ["--no-deps"] * self.no_deps + ["--require-hashes"] * self.require_hashes


def both_ways(environment: Mapping[str, str]) -> dict[str, str]:
    """Complete settings, so that pip and uv both find theirs: one may write PIP_INDEX_URL or UV_DEFAULT_INDEX."""
    complete = {name: str(value) for name, value in environment.items()}
    for pip, uv in FROM_PIP.items():
        if pip in complete:
            complete.setdefault(uv, complete[pip])
        elif uv in complete:
            complete[pip] = complete[uv]
    return complete


def run(command: Sequence[str], environment: Mapping[str, str], purpose: str, cwd: str | None = None) -> str:
    """Run a tool; a failure is one sentence with the end of what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(environment), cwd=cwd)
    except OSError as problem:
        raise BuildError(f"{purpose} failed: {command[0]}: {problem.strerror}.") from problem
    if done.returncode:
        sentence, output = ended(command, done.returncode, done.stdout + done.stderr)
        raise BuildError(f"{purpose} failed: {sentence}", output)
    return done.stdout


def run_for(
    seconds: float | None, command: Sequence[str], environment: Mapping[str, str], cwd: str, identity: Mapping[str, Any]
) -> tuple[int, str]:
    """Run a program, and end it with all that it has started when its time is over; its exit status and output."""
    child = subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True, **identity,
    )  # fmt: skip
    try:
        output, _none = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return TIMED_OUT, ""
    return child.returncode, output


def python_version(python: str) -> str:
    """Return an interpreter's version, such as 3.13.5."""
    code = "import platform; print(platform.python_implementation(), platform.python_version())"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    except OSError as problem:
        raise BuildError(f"there is no Python at {python}: install it, or name another interpreter.") from problem
    if done.returncode:
        sentence, output = ended([python], done.returncode, done.stderr)
        raise BuildError(f"the Python at {python} does not run: {sentence}", output)
    return done.stdout.strip()


@dataclass(frozen=True)
class Uv:
    """The uv of a tools folder."""

    tools: str
    python: str
    environment: Mapping[str, str]
    version: str = UV_VERSION

    @property
    def program(self) -> str:
        """Path of uv."""
        return os.path.join(self.tools, "bin", "uv")

    def settings(self) -> dict[str, str]:
        """Return the whole environment that pip and uv run with."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/root"),
            "LC_ALL": "C.UTF-8",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "UV_CACHE_DIR": os.path.join(os.path.dirname(self.tools), "cache"),
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            **both_ways(self.environment),
        }

    def ready(self) -> bool:
        """Whether this version of uv is there."""
        try:
            done = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False)
        except OSError:
            return False
        return done.stdout.split()[:2] == ["uv", self.version]

    def ensure(self) -> None:
        """Put this version of uv into the tools folder, by pip."""
        if self.ready():
            return
        os.makedirs(os.path.dirname(self.tools), mode=0o755, exist_ok=True)
        try:
            run([self.python, "-m", "venv", "--clear", self.tools], self.settings(), f"{self.python} -m venv")
        except BuildError as problem:
            if "ensurepip" in problem.output:
                raise BuildError(
                    f"{self.python} can not make virtual environments: install the package python3-venv on this host."
                ) from problem
            raise
        pip = [os.path.join(self.tools, "bin", "python"), "-m", "pip", "install", "--quiet"]
        run([*pip, f"uv=={self.version}"], self.settings(), f"installing uv {self.version}")

    def run(self, *arguments: str, purpose: str, cwd: str | None = None) -> str:
        """Run uv."""
        return run([self.program, *arguments], self.settings(), purpose, cwd)

    def create(self, path: str) -> None:
        """Make an empty virtual environment that may be renamed."""
        shutil.rmtree(path, ignore_errors=True)
        options = ("--quiet", "--no-project", "--relocatable", f"--python={self.python}")
        self.run("venv", *options, path, purpose=f"making the virtual environment {path}")

    def install(self, path: str, wanted: Requirements, *extra: str, cwd: str | None = None) -> None:
        """Install into a virtual environment."""
        python = os.path.join(path, "bin", "python")
        arguments = [*wanted.arguments(), *extra]
        for name, kind in (("requirements", wanted.requirements), ("constraints", wanted.constraints)):
            if kind:
                listed = Path(path, f".{name}.txt")
                listed.write_text("".join(f"{line}\n" for line in kind), encoding="utf-8")
                arguments.append(f"--{name}={listed}")
        if arguments:
            options = ("--compile-bytecode", f"--python={python}")
            self.run("pip", "install", *options, *arguments, purpose=f"installing into {path}", cwd=cwd)
        Path(path, ".lock").unlink(missing_ok=True)  # uv leaves it writable for everybody


def read_marker(path: str) -> dict[str, object]:
    """Return what the marker of a finished virtual environment says; nothing when there is none."""
    try:
        loaded = json.loads(Path(path, MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def rebuild(path: str, uv: Uv, wanted: Requirements, fingerprint: str) -> None:
    """Build beside path and move into its place, so that a failure or an interruption leaves the old one as it was."""
    uv.ensure()
    fresh, old = f"{path}.new", f"{path}.old"
    try:
        uv.create(fresh)
        uv.install(fresh, wanted)
    except BuildError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    marker = {"fingerprint": fingerprint, **dataclasses.asdict(wanted)}
    Path(fresh, MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(path):
        os.rename(path, old)
    os.rename(fresh, path)
    shutil.rmtree(old, ignore_errors=True)
