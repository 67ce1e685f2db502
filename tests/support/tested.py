#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of bin/test: what each of them shows, when it last ran, and how it ended.

    tests/support/tested.py names change|full   the scenarios of a tier, in the order in which they run
    tests/support/tested.py versions SCENARIO   ask the hosts of a scenario what they run, and keep the answer
    tests/support/tested.py save PART passed|failed TESTS SECONDS

`save` writes docs/tested.json and, of a trial, what it measured into bench/rows; docs/generate.py makes docs/tested.md,
bench/RELIABILITY.md and the README's tables of them. A result belongs to the content of the files that it proves
something about: when one of them changes, the result is shown as older.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import yaml
from machine import this_machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs/tested.json"
#: What the trials of a scenario measured, a row of JSON a line; docs/generate.py makes bench/RELIABILITY.md of them.
ROWS = ROOT / "bench/rows"
#: What every scenario deploys, and with what.
DEPLOYED = ("roles", "plugins", "playbooks", "site.yml", "requirements", "ansible.cfg", "pyproject.toml")
#: How a scenario's hosts are made; how they are removed shows nothing of what they ran.
HOSTS = (
    *(f"molecule/shared/{name}" for name in ("create.yml", "group_vars", "operate.yml", "trial.yml")),
    ".config/molecule",
    "tests/hosts",
    "bin/hosts",
    "bin/lib.sh",
)
#: A host may have the package of a service that does not run there.
ASK = """. /etc/os-release && echo "Debian $VERSION_ID"
for service in rabbitmq-server redis-server; do
  ! systemctl --quiet is-active "$service" ||
    dpkg-query --show --showformat '${source:Package} ${source:Upstream-Version}\\n' "$service"
done
python=/opt/celery/app/current/venv/bin/python
[ ! -x "$python" ] || echo "Celery $("$python" -c 'import importlib.metadata as m; print(m.version("celery"))')"
"""
NAMES = {"rabbitmq-server": "RabbitMQ", "redis": "Redis"}


@dataclass(frozen=True)
class Part:
    """What bin/test runs in one piece."""

    name: str
    tier: Literal["change", "full"]
    shows: str
    paths: tuple[str, ...]  # besides what is deployed: a change there makes the result an older one
    scenario: bool = True

    def files(self) -> list[Path]:
        """The files that the result depends on."""
        chosen = [*DEPLOYED, *self.paths, *([*HOSTS, f"molecule/{self.name}"] if self.scenario else [])]
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *chosen],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        paths = [ROOT / name for name in sorted(set(listed.split("\0"))) if name]
        return [path for path in paths if path.is_symlink() or path.is_file()]

    def content(self) -> str:
        """A hash of these files; a page says nothing about what works, unless it is a guide, which is followed."""
        digest = hashlib.sha256()
        for path in self.files():
            if path.suffix != ".md" or "guides" in path.parts:
                content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + content + b"\0")
        return digest.hexdigest()[:16]


OPERATIONS = ("tests/operations", "examples")
FAULTS = ("tests/reliability", "molecule/reliability")
EXAMPLES = ("examples", "inventories")
REFUSED = "tests/bad_inputs"
BUILT = ("galaxy.yml", "meta", "tests/testinfra", "examples", "changelogs")
#: In the order in which they run, of those that run two at a time the longest first.
PARTS = (
    Part(
        "unit",
        "change",
        "the logic, without a host",
        ("tests", "bench", "bin", "molecule", ".config", "inventories", "meta", "galaxy.yml", "docs/generate.py"),
        scenario=False,
    ),
    Part(
        "audit",
        "change",
        "each check of the audit finds what it must, and only that",
        ("tests/audit", *EXAMPLES),
        False,
    ),
    Part(
        "inputs",
        "change",
        "wrong input is refused before a host is touched",
        (REFUSED, "molecule", *EXAMPLES),
        scenario=False,
    ),
    Part("example", "change", "the example application", ("examples", "tests/example"), scenario=False),
    Part(
        "checkouts", "change", "two checkouts on one engine", ("tests/integration", "bin", "inventories", *HOSTS), False
    ),
    Part(
        "debian12",
        "change",
        "a deployment on Debian 12; releases that cannot work are refused; certificates are renewed",
        ("tests/testinfra", f"{REFUSED}/conftest.py", f"{REFUSED}/test_releases.py", "tests/renewal", "examples"),
    ),
    Part("reliability", "change", "no accepted task is lost: one RabbitMQ, faults of every kind", FAULTS),
    Part(
        "redis",
        "change",
        "Redis with replicas, Sentinel and TLS is deployed, and loses its primary",
        ("tests/testinfra", "examples"),
    ),
    Part(
        "default",
        "change",
        "one machine with everything, Debian 13; wrong input changes nothing on a fresh host",
        ("tests/testinfra", f"{REFUSED}/conftest.py", f"{REFUSED}/test_refused.py", "examples"),
    ),
    Part("reuse", "change", "one role of the installed collection in somebody else's project", BUILT),
    Part(
        "sanity", "full", "ansible-test sanity", ("tests/sanity", "tests/pythons.sh", "tests/config.yml", *BUILT), False
    ),
    Part(
        "cores",
        "full",
        "playbooks and plugins with the lowest and the newest ansible-core, on every Python that is there",
        ("tests/cores", "tests/pythons.sh", "tests/unit", "inventories", "meta"),
        scenario=False,
    ),
    Part(
        "celeries",
        "full",
        "the workers' runtime and the audit with the lowest and the highest supported Celery",
        ("tests/celeries", "tests/unit/runtime", "tests/audit"),
        scenario=False,
    ),
    Part(
        "speed",
        "full",
        "how long a deployment takes, and one that changes nothing",
        ("bench/deploy", "bench/floor.sh", "bench/engine.py", "examples", *HOSTS),
        scenario=False,
    ),
    Part("reliability-long", "full", "no accepted task is lost: one RabbitMQ, what an operator does", FAULTS),
    Part(
        "cluster",
        "full",
        "one machine becomes three brokers with TLS; wrong input is refused",
        ("tests/testinfra", f"{REFUSED}/conftest.py", f"{REFUSED}/test_cluster.py", *EXAMPLES, *FAULTS),
    ),
    Part("cluster-faults", "full", "no accepted task is lost: three brokers, faults of every kind", FAULTS),
    Part("cluster-rolls", "full", "no accepted task is lost: three brokers, what an operator does", FAULTS),
    Part("upgrade", "full", "three brokers are upgraded under load", ("tests/upgrade", "tests/operations", *FAULTS)),
    Part("rotation", "full", "every secret is replaced while everything runs", OPERATIONS),
    Part("restore", "full", "a backup is restored onto a fresh host, and over data", OPERATIONS),
    Part("elsewhere", "full", "a broker that somebody else runs: used, or refused with a sentence", OPERATIONS),
    Part("application", "full", "an application with settings, routes and a logging of its own", OPERATIONS),
    Part(
        "django",
        "full",
        "the guide for a Django project is followed on a fresh machine; PostgreSQL ends among running tasks",
        ("docs/guides", "examples/bookshop", "tests/support/guides.py", "tests/operations", "tests/testinfra"),
    ),
    Part("result-faults", "full", "no accepted task is lost: the result backend fails", FAULTS),
    Part("redis-faults", "full", "no accepted task is lost: one Redis as the broker", FAULTS),
    Part("sentinel-faults", "full", "no accepted task is lost: three Redis with Sentinel as the broker", FAULTS),
)


@dataclass(frozen=True)
class Result:
    """How a part ended."""

    result: Literal["passed", "failed"]
    tests: int
    seconds: int
    versions: tuple[str, ...]
    commit: str
    date: str
    content: str
    machine: str = ""


def results() -> dict[str, Result]:
    """What was saved, by part."""
    saved = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return {name: Result(**{**each, "versions": tuple(each["versions"])}) for name, each in saved.items()}


def state(part: Part, result: Result | None, content: str) -> str:
    """In one word or two: passed, failed, passed before a change, or not run."""
    if result is None:
        return "not run"
    return result.result if result.content == content else f"{result.result}, older"


def page(saved: Mapping[str, Result]) -> list[str]:
    """The table of docs/tested.md."""
    head = ("part", "shows", "result", "tests at its end", "minutes", "with", "commit", "date")
    lines = [head, ("---",) * len(head)]
    for part in PARTS:
        result = saved.get(part.name)
        row = [f"`{part.name}`", part.shows, state(part, result, part.content())]
        if result:
            minutes = f"{result.seconds / 60:.1f}"
            row += [str(result.tests), minutes, ", ".join(result.versions), result.commit, result.date]
        lines.append((*row, *[""] * (len(head) - len(row))))
    return [f"| {' | '.join(line)} |" for line in lines]


def missing(saved: Mapping[str, Result]) -> list[str]:
    """What has not passed in the present state of the files, as lines of Markdown."""
    states = {part: state(part, saved.get(part.name), part.content()) for part in PARTS}
    open_ones = [f"- `{part.name}` ({said}): {part.shows}" for part, said in states.items() if said != "passed"]
    return open_ones or ["Every part of docs/tested.md has passed in this state of the code."]


def names(tier: str) -> list[str]:
    """The scenarios of a tier."""
    return [part.name for part in PARTS if part.scenario and part.tier == tier]


def versions_file(scenario: str) -> Path:
    return ROOT / ".cache/logs" / f"versions-{scenario}.json"


def rows_file(scenario: str) -> Path:
    return ROOT / ".cache/logs" / f"rows-{scenario}.json"


def said(answers: Iterable[str]) -> list[str]:
    """What the hosts said, each version once."""
    lines = dict.fromkeys(line for answer in answers for line in answer.splitlines() if line.strip())
    return [" ".join([NAMES.get(name, name), number]) for name, _, number in (line.partition(" ") for line in lines)]


def keep_versions(scenario: str) -> None:
    """Ask every host that can be reached."""
    inventory = yaml.safe_load((ROOT / "molecule" / scenario / "inventory/hosts.yml").read_text(encoding="utf-8"))
    groups = inventory["all"].get("children", {}).values()
    hosts = dict.fromkeys(host for group in (inventory["all"], *groups) for host in group.get("hosts") or {})
    config = ROOT / ".cache" / scenario / "ssh_config"
    if not config.exists():
        return
    answers = []
    for host in hosts:
        command = ["ssh", "-F", str(config), "-o", "ConnectTimeout=5", host, "sh", "-s"]
        done = subprocess.run(command, input=ASK, capture_output=True, text=True, check=False)
        answers.append(done.stdout)  # of a host that a test has switched off: nothing
    versions_file(scenario).parent.mkdir(parents=True, exist_ok=True)
    versions_file(scenario).write_text(json.dumps(said(answers)), encoding="utf-8")


def save(name: str, result: Literal["passed", "failed"], tests: int, seconds: int) -> None:
    """Keep how a part ended; what is no part is not kept."""
    parts = {part.name: part for part in PARTS}
    if name not in parts:
        return
    file = versions_file(name)
    hosts = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    saved = results()
    saved[name] = Result(
        result=result,
        tests=tests,
        seconds=seconds,
        versions=(*hosts, *([] if name == "cores" else [f"ansible-core {version('ansible-core')}"])),
        commit=commit,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        content=parts[name].content(),
        machine=this_machine(),
    )
    if result == "passed" and rows_file(name).exists():
        ROWS.mkdir(exist_ok=True)
        shutil.copy(rows_file(name), ROWS / f"{name}.jsonl")
    ordered = {each: asdict(saved[each]) for each in parts if each in saved}
    RESULTS.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def main(command: str, *arguments: str) -> None:
    """See the top of this file."""
    if command == "names":
        print(*names(arguments[0]), sep="\n")
    elif command == "versions":
        keep_versions(arguments[0])
    elif command == "save":
        name, result, tests, seconds = arguments
        save(name, "passed" if result == "passed" else "failed", int(tests), int(seconds))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
