# SPDX-License-Identifier: GPL-3.0-or-later
"""When bin/lib.sh starts and ends a container engine that several checkouts use: with a process that plays it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "bin/lib.sh"
#: A checkout has its own copy of the library; the engine's files are those of the (small) machine.
SHELL = """
set -euo pipefail
. {checkout}/bin/lib.sh
engine_users={machine}/users engine_turn={machine}/turn engine_pid={machine}/docker.pid engine_ours={machine}/ours
machines() {{ cat {machine}/machines; }}
docker=(machines)
as_root() {{ "$@"; }}
engine_answers() {{ engine_runs; }}
engine_runs() {{ is_running "$(cat "$engine_pid" 2>/dev/null)" dockerd; }}
make_engine() {{ engine_runs || start_engine; until engine_runs; do sleep 0.1; done; }}
remove_stale() {{ :; }}
mountpoint() {{ :; }}
setsid() {{ command setsid "${{@/dockerd/{machine}/engine}}"; }}
"""
PROGRAM = """#!/bin/sh
echo $$ >{machine}/docker.pid
echo $$ >>{machine}/starts
exec {machine}/dockerd 300
"""


class Machine:
    """Two checkouts, and an engine when one starts it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "machines").write_text("")
        shutil.copy("/bin/sleep", directory / "dockerd")
        program = directory / "engine"
        program.write_text(PROGRAM.format(machine=directory))
        program.chmod(0o755)
        for name in "ab":
            (directory / name / "bin").mkdir(parents=True)
            shutil.copy(LIBRARY, directory / name / "bin")
        self.runs: list[subprocess.Popen[str]] = []

    def begin(self, checkout: str, script: str) -> subprocess.Popen[str]:
        """A shell of a checkout, with the library loaded."""
        start = SHELL.format(checkout=self.directory / checkout, machine=self.directory)
        run = subprocess.Popen(
            ["timeout", "30", "bash", "-c", start + script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.runs.append(run)
        return run

    def needs(self, checkout: str) -> Callable[[], str]:
        """A run that needs the engine until it is told to end."""
        run = self.begin(checkout, "ensure_engine; echo ready; read -r || true")
        assert run.stdout
        lines = iter(run.stdout.readline, "")
        assert "ready\n" in lines
        return lambda: finish(run)

    def stop(self, checkout: str) -> str:
        """What stop_engine says."""
        return finish(self.begin(checkout, "stop_engine"))

    @property
    def engine(self) -> int | None:
        """The process that plays it."""
        try:
            pid = int((self.directory / "docker.pid").read_text())
            return pid if Path(f"/proc/{pid}/cmdline").read_text() else None
        except (FileNotFoundError, ProcessLookupError):
            return None

    @property
    def starts(self) -> int:
        return len((self.directory / "starts").read_text().split())

    def clear(self) -> None:
        if self.engine:
            os.kill(self.engine, 9)
        for run in self.runs:
            run.terminate()
            run.communicate()


def finish(run: subprocess.Popen[str]) -> str:
    output = run.communicate(timeout=60)[0]
    assert run.returncode == 0, output
    return output


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.clear()


def test_it_ends_with_the_run_that_started_it(machine: Machine) -> None:
    end = machine.needs("a")
    assert machine.engine
    end()
    assert "stopping" in machine.stop("a")
    assert machine.engine is None


def test_it_keeps_no_reader_of_the_run_waiting(machine: Machine) -> None:
    run = machine.begin("a", "{ ensure_engine; } >&2; echo ready")
    assert "ready" in finish(run)
    assert machine.engine


def test_it_stays_while_a_run_of_another_checkout_needs_it(machine: Machine) -> None:
    end_a, end_b = machine.needs("a"), machine.needs("b")
    end_a()
    assert "another run uses it" in machine.stop("a")
    assert machine.engine
    end_b()
    assert "stopping" in machine.stop("b"), "the last one ends it, whoever started it"
    assert machine.engine is None


def test_it_stays_while_there_are_machines_of_another_checkout(machine: Machine) -> None:
    machine.needs("a")()
    (machine.directory / "machines").write_text("/srv/one\n/srv/two\n")
    assert "/srv/one, /srv/two" in machine.stop("a")
    assert machine.engine
    (machine.directory / "machines").write_text("")
    machine.needs("b")()
    assert machine.engine, "whoever needs it next is not kept waiting"


def test_a_run_that_stops_it_at_its_beginning_starts_it_again(machine: Machine) -> None:
    machine.needs("a")()
    first = machine.engine
    run = machine.begin("b", "stop_engine; ensure_engine; echo ready")
    assert "ready" in finish(run)
    assert machine.engine not in (None, first)


def test_two_that_begin_at_once_start_one(machine: Machine) -> None:
    runs = [machine.begin(name, "ensure_engine; echo ready") for name in "abab"]
    for run in runs:
        assert "ready" in finish(run)
    assert machine.starts == 1


def test_one_that_somebody_else_started_is_left_alone(machine: Machine) -> None:
    machine.needs("a")()
    (machine.directory / "ours").unlink()
    assert machine.stop("a") == ""
    assert machine.engine


def test_a_run_that_leaves_it_to_others_keeps_nobody_waiting(machine: Machine) -> None:
    machine.needs("a")()
    (machine.directory / "machines").write_text("/srv/one\n")
    run = machine.begin("a", "stop_engine; echo ready; read -r || true")
    assert run.stdout
    assert "ready\n" in iter(run.stdout.readline, "")
    machine.needs("b")()
    finish(run)
