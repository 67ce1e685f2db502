# SPDX-License-Identifier: GPL-3.0-or-later
"""The role worker alone, out of the built collection, beside an application that was there before."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.celeryops.stack.plugins.module_utils.plan import make_plan
from verification import expected, facts, parsing

PROJECT = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "project"
COLLECTIONS = PROJECT / "collections" / "ansible_collections"
INSTALLED = COLLECTIONS / "celeryops" / "stack"
UNIT, NODE, QUEUE = "celery-worker-legacy@1.service", "legacy-1@server", "legacy"
#: All that the role may leave on a host.
LEFT = {
    "/etc/celery/credentials/celery.json",
    "/etc/celery/settings.json",
    "/etc/celeryops.json",
    "/etc/systemd/system/celery-worker-legacy@.service",
    "/etc/systemd/system/celery-probe.service",
    "/etc/systemd/system/celery-probe.timer",
    "/etc/systemd/system/celery-worker-legacy.slice",
    "/etc/systemd/system/timers.target.wants/celery-probe.timer",
    "/etc/systemd/system/celery-workers.target",
    f"/etc/systemd/system/celery-workers.target.wants/{UNIT}",
    "/etc/systemd/system/multi-user.target.wants/celery-workers.target",
    "/usr/local/sbin/celery-run",
    "/var/lib/celery/revoked.sqlite3",
}


@pytest.fixture(scope="module")
def declared() -> facts.Host:
    """The host as the playbook declares it."""
    (play,) = yaml.safe_load((PROJECT / "site.yml").read_text(encoding="utf-8"))
    internal = yaml.safe_load((INSTALLED / "roles/celery/vars/main.yml").read_text(encoding="utf-8"))
    variables = {"celery_process_sandbox": internal["celery_sandbox"], **play["vars"]}
    variables["celery_plan"] = make_plan(variables, "server")
    return facts.Host("server", frozenset(["worker"]), {}, variables)


def as_legacy(host: Any, command: str, *arguments: str) -> Any:
    """What the application's own environment answers, as JSON."""
    result = host.run(f"runuser -u legacy -- env -C /srv/legacy/app /srv/legacy/venv/bin/{command}", *arguments)
    assert result.rc == 0, result.stderr or result.stdout
    return json.loads(result.stdout)


def test_the_installed_collection_is_the_only_one() -> None:
    """With the configuration that the playbook was run with."""
    command = ["ansible-galaxy", "collection", "list", "--format=json", "celeryops.stack"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
    assert list(json.loads(done.stdout)) == [str(COLLECTIONS)]
    assert (INSTALLED / "MANIFEST.json").is_file(), "it was not installed from an archive"


def test_the_unit_is_what_the_plan_says(host: Any, declared: facts.Host) -> None:
    (unit,) = declared.plan["units"]
    wanted = {
        **expected.worker_properties(declared, unit),
        "Id": UNIT,
        "Type": "notify",
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "NRestarts": 0,
    }
    shown = parsing.shown(host.check_output(f"systemctl show --property={','.join(wanted)},ExecStart {UNIT}"))[UNIT]
    assert {name: shown[name] for name in wanted if not expected.agrees(name, shown[name], wanted[name])} == {}
    words = parsing.command(shown["ExecStart"])
    assert words[0] == "/srv/legacy/venv/bin/python"
    assert expected.worker_options(unit).items() <= parsing.options(words).items()


def test_consumes_the_queue_of_the_application(host: Any) -> None:
    command = f"celery -A tasks inspect active_queues --json --timeout=10 --destination={NODE}"
    assert [queue["name"] for queue in as_legacy(host, command)[NODE]] == [QUEUE]


def test_a_task_of_a_plain_producer_comes_back(host: Any) -> None:
    """From the application's own environment and settings, without anything of this collection."""
    producer = "import json, tasks; print(json.dumps(tasks.add.delay(2, 3).get(timeout=30)))"
    assert as_legacy(host, "python -c %s", producer) == {"sum": 5, "node": NODE, "user": "legacy"}


def test_the_user_is_as_it_was(host: Any) -> None:
    user = host.user("legacy")
    assert (user.home, user.shell, user.groups) == ("/srv/legacy", "/bin/bash", ["legacy"])


def test_nothing_else_is_on_the_host(host: Any) -> None:
    """No release, beat, Flower, broker's configuration or user; nothing that was there is another."""
    new = host.check_output(
        "find /etc /opt /srv /usr /var/lib -xdev -newercc /srv/legacy/installed -not -type d"
        " -not -path '*/__pycache__/*' -not -path '/var/lib/redis/*'"
        " -not -path '/opt/celery/runtime/*' -not -path '/opt/celery/next/*'"
    )
    assert set(new.split()) == LEFT
