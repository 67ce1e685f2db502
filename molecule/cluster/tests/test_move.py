# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine became many: every task that the one had accepted was done once, and nothing of it goes on there."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

import pytest
from trial import hosts, ledger
from trial.ledger import Effect

OLD, BEAT = "broker1", "worker1"
ACCEPTED: Mapping[str, list[dict[str, object]]] = json.loads((hosts.CACHE / "accepted.json").read_text("utf-8"))
#: When each may run, by its id: those that the old machine may have done, and those that waited on it.
BEFORE, SINCE = ({str(task["id"]): float(str(task["due"])) for task in ACCEPTED[when]} for when in ("before", "since"))
PATIENCE = 600  # seconds after the last one is due, on a busy machine


def effects(names: Collection[str]) -> list[Effect]:
    """What tasks wrote down on these hosts."""
    file = hosts.variables()["celery_environment"]["EFFECTS"]
    return [effect for name in names for effect in ledger.parse(name, hosts.shell(name, f"cat {file} || true"))]


@pytest.fixture(scope="module")
def done() -> list[Effect]:
    """What all of them wrote down, when none is missing."""
    everyone = (OLD, *hosts.WORKERS)
    accepted = BEFORE | SINCE

    def complete() -> bool:
        return not ledger.settle(accepted, effects(everyone)).missing

    hosts.await_true("every accepted task has ended", complete, PATIENCE, pause=2)
    return effects(everyone)


def test_every_accepted_task_ended_once(done: list[Effect]) -> None:
    account = ledger.settle(BEFORE | SINCE, done)
    assert (account.accepted, account.done, account.twice, account.cut_off) == (250, 250, (), 0)


def test_what_waited_on_the_old_machine_was_done_by_the_new_ones(done: list[Effect]) -> None:
    ran_on = {name: {effect.id for effect in done if effect.host == name} for name in (OLD, *hosts.WORKERS)}
    assert ran_on[OLD] & set(BEFORE), "the old machine did nothing, so this would not see what it repeats"
    assert not ran_on[OLD] & set(SINCE)
    assert all(ran_on[name] & set(SINCE) for name in hosts.WORKERS)


def test_no_countdown_was_cut_short(done: list[Effect]) -> None:
    """The broker counts in whole seconds."""
    due = BEFORE | SINCE
    assert [effect for effect in done if effect.event == "start" and effect.at < due[effect.id] - 1] == []


def test_the_old_machine_has_no_worker_and_no_beat() -> None:
    patterns = "'celery-worker-*' 'celery-workers.target' 'celery-probe.*' 'celery-beat.service'"
    assert hosts.shell(OLD, f"systemctl list-units --plain --no-legend {patterns}") == ""
    assert hosts.shell(OLD, f"systemctl list-unit-files --no-legend --state=enabled {patterns} || true") == ""
    assert hosts.shell(OLD, "ls /etc/systemd/system | grep celery-worker- || true") == ""


def test_there_was_one_beat_at_any_time() -> None:
    """The old one had stopped when the new one was started."""

    def said(host: str, what: str) -> list[float]:
        fields = f"_PID=1 UNIT=celery-beat.service JOB_TYPE={what}"
        journal = hosts.shell(host, f"journalctl --quiet --no-pager --output json {fields}")
        return [int(json.loads(line)["__REALTIME_TIMESTAMP"]) / 1e6 for line in journal.splitlines()]

    started, stopped, begun = said(OLD, "start"), said(OLD, "stop"), said(BEAT, "start")
    assert started
    assert stopped
    assert begun
    assert max(started) < max(stopped) < min(begun)
