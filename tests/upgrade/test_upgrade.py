# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of RabbitMQ is upgraded when that is asked for and possible, and never else; nothing is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from operating import Outcome
from trial import hosts, row
from trial.faults import ALARMS, Fault, await_cluster
from trial.hosts import BROKERS, WORKERS, await_true
from trial.sides import Side
from upgrading import FLAG, MARK, away, runs, serves, versions

UPGRADE = "playbooks/upgrade_broker.yml"
TASKS, RATE = 300, 10.0
#: Of one broker, what its unit did since a moment.
UNIT = "journalctl --quiet --output short-unix --unit {} --since @{} --identifier systemd"
#: What modules say when they fail, with Ansible's YAML output.
SAID = re.compile(r"^ +msg: (?:[|>]-?\n)?(.+?)\n(?:\n|(?=\S))", re.MULTILINE | re.DOTALL)
Play = Callable[..., Outcome]


def test_nothing_else_upgrades_it(play: Play, deployed: Side) -> None:
    before, ran = versions(), runs()
    play("site.yml")
    for host in BROKERS:
        assert MARK in hosts.run(host, "apt-cache", "madison", "rabbitmq-server")
        hosts.shell(host, "DEBIAN_FRONTEND=noninteractive apt-get -qq upgrade >/dev/null")
    assert versions() == before
    assert not any(MARK in version for version in before.values())
    assert runs() == ran


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(play: Play, sentence: str, **variables: str) -> None:
    """It ends with that, said once by each host that is asked, and has touched no broker."""
    before, ran = versions(), runs()
    outcome = play(UPGRADE, check=False, **variables)
    assert outcome.code != 0, f"it was accepted: {outcome.output}"
    said = {" ".join(text.split()) for text in SAID.findall(outcome.output)}
    assert len(said) == 1, f"one sentence, and the same one of every host: {said}"
    assert sentence in said.pop()
    assert not re.search("changed=[1-9]", outcome.output), outcome.output
    assert (versions(), runs()) == (before, ran)


def test_not_while_there_is_an_alarm(play: Play, deployed: Side) -> None:
    host = BROKERS[1]
    hosts.rabbitmq(host, "set_disk_free_limit", "900000GB")
    try:
        await_true("the alarm is raised", lambda: "resource_limit" in hosts.rabbitmq(host, *ALARMS), 60)
        refused(play, f"There are alarms (disk on rabbit@{host}): see to these first")
    finally:
        hosts.rabbitmq(host, "set_disk_free_limit", "1GB")
    serves(deployed)


def test_not_while_a_node_is_away(play: Play, deployed: Side) -> None:
    host = BROKERS[1]
    with away(host):
        refused(play, f"rabbit@{host} does not run: bring it back, or remove it, first")
        serves(deployed)


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("9.", "apt knows no rabbitmq-server 9., only 3.13.7-1, 4.0.4-1, 4.0.5"),
        ("4.0.4", "4.0.4-1, which is older than 4.0.5"),
        ("3.13.", "3.13.7-1, which is older than 4.0.5"),
    ],
)
def test_not_to_any_version(play: Play, deployed: Side, version: str, sentence: str) -> None:
    refused(play, sentence, rabbitmq_version=version)
    serves(deployed)


# --- the upgrade ------------------------------------------------------------------------------------------------------


def absences(since: float) -> list[tuple[float, float]]:
    """When each broker was away, by host; every one exactly once."""
    found = []
    for host in BROKERS:
        journal = hosts.shell(host, UNIT.format(hosts.SERVICE, int(since)))
        moments = {word: re.findall(rf"^(\S+) .*: {word} ", journal, re.MULTILINE) for word in ("Stopping", "Started")}
        assert [len(each) for each in moments.values()] == [1, 1], f"{host}: {journal}"
        found.append((float(moments["Stopping"][0]), float(moments["Started"][0])))
    return found


def test_it_is_upgraded_node_by_node_and_nothing_is_lost(play: Play, deployed: Side, tmp_path: Path) -> None:
    since = float(hosts.run(BROKERS[0], "date", "+%s"))
    fault = Fault("every node upgraded in turn (upgrade_broker.yml)", lambda scene: upgrade(play))
    result = row.run(deployed, "upgrade", fault, TASKS, RATE)
    if result.problems:
        pytest.fail("\n".join(result.problems), pytrace=False)
    print(result.as_dict())
    assert result.accepted >= TASKS
    assert (result.lost, result.strikes) == (0, 1)
    assert all(version.endswith(MARK) for version in versions().values())
    gone = absences(since)
    assert all(back < leaves for (_, back), (leaves, _) in pairwise(gone)), f"two were away together: {gone}"
    (definitions,) = tmp_path.glob("*/rabbitmq.json")
    assert definitions.stat().st_mtime < gone[0][0], "the definitions were exported when a node was away already"


def upgrade(play: Play) -> None:
    play(UPGRADE)
    await_cluster()


def test_the_new_feature_flag_is_enabled_everywhere(deployed: Side) -> None:
    """RabbitMQ cannot enable it before every node knows it: so that came last."""
    for host in BROKERS:
        flags = json.loads(hosts.rabbitmq(host, "list_feature_flags", "name", "state", "--formatter", "json"))
        assert {"name": FLAG, "state": "enabled"} in flags, f"{host}: {flags}"


def test_it_is_held_again(deployed: Side) -> None:
    for host in BROKERS:
        assert "rabbitmq-server" in hosts.run(host, "apt-mark", "showhold").split()


def test_a_second_run_changes_nothing(play: Play, deployed: Side, tmp_path: Path) -> None:
    """Nor does the next run of site.yml: what the package replaces is as the role has it."""
    for name in (UPGRADE, "site.yml"):
        before = versions(), runs()
        outcome = play(name)
        assert (versions(), runs()) == before
        for host in (*BROKERS, *WORKERS):
            assert not re.search(rf"^{host} .*changed=[1-9]", outcome.output, re.MULTILINE), outcome.output
    assert not [*tmp_path.iterdir()], "there was nothing to upgrade, so nothing was to be backed up"
    serves(deployed)
