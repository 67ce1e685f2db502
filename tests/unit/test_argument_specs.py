# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's argument specification and its defaults say the same, and every variable is explained in both."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).parents[2] / "roles").iterdir() if path.is_dir())
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "raw": (object,),
}


def load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
class TestRole:
    def test_same_variables_with_the_same_defaults(self, role: Path) -> None:
        specified = {name: option.get("default") for name, option in options_of(role).items()}
        assert specified == load(role / "defaults/main.yml")

    def test_every_variable_is_explained_and_typed(self, role: Path) -> None:
        for name, option in options_of(role).items():
            assert option.get("description"), name
            templated = isinstance(option["default"], str) and "{{" in option["default"]
            assert templated or isinstance(option["default"], TYPES[option["type"]]), name
            assert option["type"] != "list" or "elements" in option, name

    def test_numbers_say_their_bounds_and_sizes_an_example(self, role: Path) -> None:
        bounds, example = re.compile(r"\d to \d|\d or more|more than \d|at least \d"), re.compile(r"such as \d|\(\d")
        for name, option in options_of(role).items():
            said = " ".join(
                [option["description"]] if isinstance(option["description"], str) else option["description"]
            )
            assert option["type"] not in ("int", "float") or bounds.search(said), name
            if name.endswith(("_memory_max", "_maxmemory", "_free_limit", "_watermark")):
                assert example.search(said), name

    def test_choices_are_choices(self, role: Path) -> None:
        for name, option in options_of(role).items():
            if name.endswith("_log_level"):
                assert option["choices"], name

    def test_secrets_are_marked(self, role: Path) -> None:
        for name, option in options_of(role).items():
            if name.endswith(("_password", "_secret_key", "_token", "_dsn", "_cookie", "_secret_environment")):
                assert option.get("no_log"), f"{name} needs no_log: true"

    def test_preflight_takes_the_same(self, role: Path) -> None:
        specs = load(role / "meta/argument_specs.yml")["argument_specs"]
        if (role / "tasks/preflight.yml").exists():
            assert specs["preflight"] == specs["main"]

    def test_defaults_are_commented(self, role: Path) -> None:
        commented = False
        path = role / "defaults/main.yml"
        for line in path.read_text().splitlines() if path.exists() else []:
            if not line or line.startswith("---"):
                commented = False
            elif line.startswith("#"):
                commented = True
            elif line[0].isalpha():
                assert commented, f"{path}: no comment above {line}"


def test_a_truth_may_be_a_text() -> None:
    """An INI inventory, and -e, give texts: 'false' is true wherever it is not converted."""
    truths = {name for role in ROLES for name, option in options_of(role).items() if option["type"] == "bool"}
    bare = re.compile(rf"(?<![\w.'])({'|'.join(truths)})\b(?!\s*\|\s*bool\b)(?!\s*:|')")
    passed_on = re.compile(r"^\w+: \"{{ \w+ }}\"$")  # by a default to a variable that is a truth, too
    root = ROLES[0].parent.parent
    used = [path for kind in ("tasks", "defaults", "vars", "templates") for path in root.glob(f"roles/*/{kind}/*")]
    wrong = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in [*used, *root.glob("playbooks/**/*.yml")]
        for line in path.read_text().splitlines()
        if bare.search(re.sub(r"(^|\s)#.*", "", line)) and not passed_on.match(line)
    ]
    assert not wrong, "write '| bool' behind each"


def test_the_generated_pages_are_up_to_date() -> None:
    generate = ROLES[0].parent.parent / "docs/generate.py"
    done = subprocess.run([sys.executable, generate, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
