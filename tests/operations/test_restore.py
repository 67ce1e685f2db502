# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup brings a fresh host to where the old one was; over data it is refused.

Passwords were replaced once, and it is made while workers run: what RabbitMQ exports then cannot be imported as it is.
"""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from operating import STACK, Machines, local

RESTORE = "playbooks/restore.yml"
ASIDE = "ls -d /var/lib/redis/appendonlydir.before-* /var/lib/bugsink/db.sqlite3.before-*"
#: What somebody made by hand: nothing of it is in the inventory. And a user whose password was replaced, still there.
BY_HAND = """
rabbitmqctl -q add_vhost reports
rabbitmqctl -q add_user reports a-password-by-hand
rabbitmqctl -q set_permissions -p reports reports '^r' '^r' '^r'
rabbitmqctl -q add_user celery a-password-that-was-replaced
rabbitmqctl -q set_permissions -p celery celery '.*' '.*' '.*'
rabbitmqctl -q set_policy -p reports short '^r' '{"max-length": 7}'
rabbitmqctl -q eval '
  rabbit_amqqueue:declare(rabbit_misc:r(<<"reports">>, queue, <<"r1">>), true, false, [], none, <<"me">>).'
"""
RESULTS = """
from shop import tasks
results = [tasks.ping.delay() for _ in range(20)]
print(*(result.id for result in results if result.get(timeout=60)))
"""
KNOWN = """
from celery.result import AsyncResult
from shop.celery import app
print(sum(AsyncResult(task_id).successful() for task_id in "{ids}".split()))
"""
EVENTS = "SELECT count(*), max(id) FROM events_event"


@pytest.fixture(scope="module")
def before(machines: Machines, celery_run: Callable[[str], str]) -> Any:
    """What there was, and its backup, where it goes when nobody says where."""
    machines.run(BY_HAND)
    ids = celery_run(RESULTS).strip()
    machines.run("celery-run python -m celeryops_runtime event --text 'before the end'")
    events = state(machines)["events"]
    place = machines.inventory / ".backups"
    shutil.rmtree(place, ignore_errors=True)  # of a run before
    outcome = machines.playbook("playbooks/backup.yml")
    (folder,) = place.iterdir()
    assert str(folder) in "".join(outcome.output.split())
    yield {"folder": folder, "ids": ids, **state(machines), "events": events}
    shutil.rmtree(place)


def state(machines: Machines) -> dict[str, Any]:
    """Definitions, without what is a matter of chance and the user of former days, and the tracker's events."""
    document = json.loads(machines.run("rabbitmqctl --quiet export_definitions -"))
    for kind, key in (("users", "name"), ("permissions", "user")):
        document[kind] = [item for item in document[kind] if item[key] != "celery"]
    there = {item["name"] for kind in ("queues", "exchanges") for item in document[kind]}
    document["bindings"] = [item for item in document["bindings"] if item["destination"] in there]
    kinds = ("users", "vhosts", "permissions", "policies", "queues", "exchanges", "bindings", "parameters")
    found: dict[str, Any] = {
        kind: sorted(json.dumps(item, sort_keys=True) for item in map(plain, document[kind])) for kind in kinds
    }
    program = f"import sqlite3; print(*sqlite3.connect('/var/lib/bugsink/db.sqlite3').execute('{EVENTS}').fetchone())"
    return {**found, "events": machines.run(f'python3 -c "{program}"').strip()}


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An object without the salt of passwords that are the inventory's, and without the type that an import adds."""
    if (item.get("arguments") or {}).get("x-queue-type") == "classic":
        item = {
            **item,
            "arguments": {name: value for name, value in item["arguments"].items() if name != "x-queue-type"},
        }
    by_hand = item.get("name") == "reports"
    return {key: value for key, value in item.items() if by_hand or key not in ("password_hash", "metadata")}


def test_the_copy_is_no_part_of_the_inventory(machines: Machines, before: Any) -> None:
    """Ansible reads every file below the directory of an inventory."""
    assert before["folder"].is_relative_to(machines.inventory)
    said = local("ansible-inventory", "--inventory", str(machines.inventory), "--list").output
    listed, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])  # warnings stand around it
    assert set(listed["_meta"]["hostvars"]) == {STACK}


def test_what_is_copied_can_be_imported(machines: Machines, before: Any) -> None:
    """Events go to queues that live as long as a connection."""
    exported = json.loads(machines.run("rabbitmqctl --quiet export_definitions -"))
    saved = json.loads((before["folder"] / "rabbitmq.json").read_text(encoding="utf-8"))
    there = {queue["name"] for queue in exported["queues"]}
    lost = {each["destination"] for each in exported["bindings"] if each["destination_type"] == "queue"} - there
    assert lost, "nothing is bound that would be in the way"
    assert not lost & {each["destination"] for each in saved["bindings"]}


def test_the_copy_is_yours_alone(before: Any) -> None:
    folder: Path = before["folder"]
    assert {path.name for path in folder.iterdir()} == {"rabbitmq.json", "redis-stack.tar.gz", "bugsink-stack.sqlite3"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_over_data_it_is_refused(machines: Machines, before: Any) -> None:
    machines.refused(
        RESTORE, "RabbitMQ is in use, with ", "users that are not declared: reports", backup=str(before["folder"])
    )


def test_what_is_no_backup_is_refused(machines: Machines, tmp_path: Path) -> None:
    machines.refused(RESTORE, "Nothing is no folder on this machine; write -e backup=FOLDER")
    machines.refused(RESTORE, f"{tmp_path} has no rabbitmq.json", backup=str(tmp_path))


def test_a_fresh_host_comes_to_where_the_old_one_was(
    machines: Machines, before: Any, celery_run: Callable[[str], str]
) -> None:
    machines.renew()
    machines.playbook(RESTORE, backup=str(before["folder"]))
    machines.playbook("site.yml")
    after = state(machines)
    for kind, was in before.items():
        if kind not in ("folder", "ids"):
            assert after[kind] == was, kind
    assert celery_run(KNOWN.format(ids=before["ids"])).strip() == "20"
    machines.run("rabbitmqctl -q authenticate_user reports a-password-by-hand")
    users = machines.run("rabbitmqctl --quiet list_users --no-table-headers | cut -f1").split()
    assert "celery" not in users, "a password that was replaced came back"


def test_what_was_there_is_put_aside_when_that_is_asked_for(machines: Machines, before: Any) -> None:
    former = set(machines.run(ASIDE).split())
    machines.playbook(RESTORE, restore_over=True, backup=str(before["folder"]))
    assert len(set(machines.run(ASIDE).split()) - former) == 2
    assert state(machines)["events"] == before["events"]
