# SPDX-License-Identifier: GPL-3.0-or-later
"""Three brokers, and a newer package that apt knows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from operating import Outcome, local
from trial import hosts, sides
from trial.hosts import BROKERS
from trial.sides import Side
from upgrading import FLAG, MARK, OFFERED, PORT


@pytest.fixture(scope="session")
def deployed() -> Iterator[Side]:
    """What site.yml deployed."""
    side = sides.deployed()
    yield side
    side.producer.close()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the inventory says of the repository, which the first broker's host offers."""
    script = Path(__file__).with_name("repository.sh").read_text(encoding="utf-8")
    given = [f"MARK={MARK}", f"FLAG={FLAG}", f"OFFERED={' '.join(OFFERED)}", f"PORT={PORT}"]
    key = tmp_path_factory.mktemp("keys") / "tests.asc"
    key.write_text(hosts.run(BROKERS[0], "env", *given, "bash", "-c", script), encoding="utf-8")
    return {"uris": f"http://{hosts.address(BROKERS[0])}:{PORT}", "suites": "./", "key": str(key)}


@pytest.fixture
def play(repository: Mapping[str, str], tmp_path: Path) -> Callable[..., Outcome]:
    """Runs a playbook of the collection with that repository; backups go into the test's folder."""

    def play(name: str, *, check: bool = True, **variables: Any) -> Outcome:
        program = Path(sys.executable).with_name("ansible-playbook")
        extra = json.dumps({"rabbitmq_repository": repository, "backup_directory": str(tmp_path), **variables})
        return local(str(program), "--inventory", str(hosts.INVENTORY), name, "--extra-vars", extra, check=check)

    return play
