# SPDX-License-Identifier: GPL-3.0-or-later
"""bin/test goes on where a part fails, keeps what has ended, and is red where something did not run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tested import PARTS

PROGRAM = Path(__file__).resolve().parents[2] / "bin/test"
LIBRARY = """
cache=$PWD/.cache docker=(true)
say() { echo "$*"; }
die() { echo "error: $*"; exit 1; }
ensure_controller() { :; }
ensure_engine() { :; }
ensure_image() { :; }
engine_answers() { false; }
"""
#: How a scenario ends stands in its directory.
MOLECULE = """#!/bin/bash
. "molecule/$3/how"
"""
#: Half an hour is a second here.
TIMEOUT = """#!/bin/bash
exec /usr/bin/timeout "${@/#30m/1}"
"""
TESTED = """#!/bin/bash
case $1 in
  names) cat scenarios || exit 1 ;;
  save) echo "$*" >>.cache/saved ;;
esac
"""


class Checkout:
    """One with scenarios that need no host."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name, content in {
            "bin/lib.sh": LIBRARY,
            "tools/molecule": MOLECULE,
            "tools/timeout": TIMEOUT,
            "tests/support/tested.py": TESTED,
            "docs/generate.py": "#!/bin/bash\n",
            "scenarios": "one\ntwo\nthree\n",
            ".gitignore": ".cache\n",
            **{f"molecule/{name}/how": "echo 2 passed" for name in ("one", "two", "three")},
            **{f"molecule/{name}/inventory/hosts.yml": "" for name in ("one", "two", "three")},
        }.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(content)
            (directory / name).chmod(0o755)
        shutil.copy(PROGRAM, directory / "bin/test")
        self.git("init", "-q")
        self.commit()

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=self.directory, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "-qm", "state")

    def ends(self, scenario: str, how: str) -> None:
        (self.directory / "molecule" / scenario / "how").write_text(how)
        self.commit()

    def run(self, *arguments: str) -> tuple[int, str]:
        path = f"{self.directory / 'tools'}:{os.environ['PATH']}"
        done = subprocess.run(
            [self.directory / "bin/test", *arguments],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    @property
    def saved(self) -> list[str]:
        """Part, result and number of tests."""
        file = self.directory / ".cache/saved"
        lines = file.read_text().splitlines() if file.exists() else []
        return sorted(" ".join(line.split()[1:4]) for line in lines)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize(
    ("how", "count"), [("echo 3 failed; exit 1", "4 passed, 3 failed"), ("sleep 300 & wait", "4 passed, 1 failed")]
)
def test_it_goes_on_where_a_scenario_fails_or_hangs(checkout: Checkout, how: str, count: str) -> None:
    checkout.ends("one", how)
    code, said = checkout.run("molecule", "--save")
    assert code == 1
    assert "FAILED: molecule-one" in said
    assert count in said
    assert checkout.saved == ["one failed 0", "three passed 2", "two passed 2"]


def test_who_was_killed_is_red_and_leaves_its_row_as_it_was(checkout: Checkout) -> None:
    checkout.ends("one", "kill -KILL $$")
    code, said = checkout.run("molecule", "--save")
    assert code == 1
    assert "FAILED: molecule-one" in said
    assert checkout.saved == ["three passed 2", "two passed 2"]


def test_a_result_is_kept_when_its_scenario_ends(checkout: Checkout) -> None:
    """Whoever is ended later keeps those before: two at a time, so the first has ended when the third begins."""
    checkout.ends("two", "exit 0")
    checkout.ends("three", "cp .cache/saved .cache/before; echo 2 passed")
    assert checkout.run("molecule", "--save")[0] == 0
    assert "passed" in (checkout.directory / ".cache/before").read_text()


def test_nothing_is_saved_of_a_checkout_that_is_not_committed(checkout: Checkout) -> None:
    (checkout.directory / "new").write_text("")
    code, said = checkout.run("molecule", "--save")
    assert code == 1
    assert "commit your changes first" in said
    assert "started" not in said


def test_nothing_is_saved_of_a_checkout_that_changes_meanwhile(checkout: Checkout) -> None:
    checkout.ends("one", "touch new; echo 2 passed")
    code, said = checkout.run("molecule", "one", "--save")
    assert code == 1
    assert "the checkout has changed" in said
    assert checkout.saved == []


def test_without_a_list_of_scenarios_it_is_red(checkout: Checkout) -> None:
    (checkout.directory / "scenarios").unlink()
    assert checkout.run("molecule")[0] != 0


@pytest.mark.parametrize(("arguments", "code"), [(("nothing",), 2), (("unit", "--sav"), 2), (("unit", "inputs"), 1)])
def test_what_it_does_not_know_is_refused(checkout: Checkout, arguments: tuple[str, ...], code: int) -> None:
    assert checkout.run(*arguments)[0] == code


def test_another_part_that_hangs_is_ended_and_has_failed(checkout: Checkout) -> None:
    (checkout.directory / "tests/example").write_text("#!/bin/bash\nexec sleep 300\n")
    (checkout.directory / "tests/example").chmod(0o755)
    code, said = checkout.run("example")
    assert code == 1
    assert "FAILED: example" in said


@pytest.mark.parametrize("part", [part.name for part in PARTS if not part.scenario])
def test_every_part_runs_alone(checkout: Checkout, part: str) -> None:
    code, said = checkout.run(part)
    assert code == 1, "it runs, and finds nothing here"
    assert f"FAILED: {part}" in said
