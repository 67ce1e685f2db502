# SPDX-License-Identifier: GPL-3.0-or-later
"""The account of the tasks: the parts of the reliability tests that need no machine."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from trial.faults import login
from trial.ledger import Effect, Ledger, gap, replayed, settle
from trial.load import RESULTS, Stream, Watch, mix
from trial.row import notable


def effect(task: str, event: str, retries: int = 0, at: float = 0.0, host: str = "w1", seconds: float = 0.0) -> Effect:
    return Effect(host, task, retries, event, at, 1, "1", seconds)


# --- what counts as lost, as twice, as cut off ------------------------------------------------------------------------


def test_a_task_that_began_and_ended_is_done() -> None:
    account = settle(["a"], [effect("a", "start"), effect("a", "end")])
    assert (account.done, account.missing, account.twice, account.cut_off) == (1, (), (), 0)


@pytest.mark.parametrize("effects", [[], [effect("a", "start")], [effect("a", "start"), effect("a", "retry")]])
def test_a_task_that_never_ended_is_lost(effects: list[Effect]) -> None:
    account = settle(["a"], effects)
    assert (account.done, account.missing) == (0, ("a",))


def test_a_task_that_nobody_accepted_does_not_count() -> None:
    account = settle(["a"], [effect(task, event) for task in "ab" for event in ("start", "end", "end")])
    assert (account.accepted, account.done, account.twice) == (1, 1, ("a",))


def test_a_task_that_was_cut_off_ran_once() -> None:
    account = settle(["a"], [effect("a", "start"), effect("a", "start", host="w2"), effect("a", "end", host="w2")])
    assert (account.done, account.twice, account.cut_off) == (1, (), 1)


def test_a_task_that_ended_on_both_hosts_ran_twice() -> None:
    account = settle(["a"], [effect("a", event, host=host) for host in ("w1", "w2") for event in ("start", "end")])
    assert (account.done, account.twice, account.cut_off) == (1, ("a",), 0)


@pytest.mark.parametrize(
    ("end", "start", "shown"),
    [
        (90, 111, ["a"]),  # done long before the fault
        (99, 111, []),  # just before it, so perhaps not acknowledged
        (120, 131, []),  # during it
        (150, 160, []),  # after it: no fault brought it back
        (150, 211, ["a"]),  # between two
        (90, 95, []),  # before any
    ],
)
def test_what_had_ended_before_a_fault_must_not_begin_again(end: float, start: float, shown: list[str]) -> None:
    effects = [effect("a", "start", at=80), effect("a", "start", at=start), effect("a", "end", at=end)]
    assert replayed(["a"], effects, [(100, 130), (200, 230)]) == shown
    assert replayed(["b"], effects, [(100, 130), (200, 230)]) == []


def test_a_retry_that_the_task_asked_for_is_neither() -> None:
    account = settle(["a"], [effect("a", e, r) for e, r in (("start", 0), ("retry", 0), ("start", 1), ("end", 1))])
    assert (account.done, account.twice, account.cut_off) == (1, (), 0)


# --- reading while the tasks write ------------------------------------------------------------------------------------


def line(task: str, event: str, **more: Any) -> str:
    values = {"id": task, "retries": 0, "event": event, "at": 100.0, "pid": 1, "version": "1", "seconds": 0.0}
    return json.dumps({**values, **more}) + "\n"


def test_lines_that_are_cut_at_any_byte_are_read_whole_and_once() -> None:
    content = "".join(line(f"t{number}", event) for number in range(20) for event in ("start", "end"))
    dice, there = random.Random(7), 0  # noqa: S311 - the same cuts each time
    ledger = Ledger(["w1"], lambda host, offset: content[offset:there])
    while there < len(content):
        there += dice.randint(1, 90)
        ledger.update()
    assert [(e.id, e.event) for e in ledger.effects] == [(f"t{n}", e) for n in range(20) for e in ("start", "end")]
    assert ledger.ended == {f"t{number}" for number in range(20)}


def test_running_is_what_began_and_goes_on_long_enough() -> None:
    content = line("ended", "start", seconds=9) + line("ended", "end") + line("long", "start", seconds=5)
    content += line("nearly", "start", seconds=2)
    ledger = Ledger(["w1"], lambda host, offset: content[offset:])
    ledger.update()
    assert [e.id for e in ledger.running(now=101.5, at_least=1)] == ["long"]


# --- the load ---------------------------------------------------------------------------------------------------------


def test_the_mix_has_every_kind_and_is_the_same_each_time() -> None:
    jobs = list(islice(mix(40), 2000))
    assert jobs == list(islice(mix(40), 2000))
    kinds = Counter(job.task for job in jobs)
    assert set(kinds) == {f"effects.{name}" for name in ("fast", "slow", "threaded", "flaky", "hungry")}
    assert {job.countdown for job in jobs} == {None, 1, 2, 3}


@pytest.mark.parametrize("rate", [5, 40, 400])
def test_long_tasks_do_not_get_more_with_the_rate(rate: int) -> None:
    seconds = 100
    long = sum(job.task == "effects.slow" for job in islice(mix(rate), rate * seconds))
    assert seconds / 3 < long < seconds / 2


class App:
    """Accepts what it is told to."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def send_task(self, name: str, arguments: Any, countdown: int | None) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(id=answer)


def test_a_publish_that_raises_is_not_accepted() -> None:
    stream = Stream(App("a", OSError("away"), "b"), rate=1)
    assert [stream.send("t"), stream.send("t"), stream.send("t")] == ["a", None, "b"]
    assert stream.accepted == {"a", "b"}
    assert stream.refused == ["OSError('away')"]


def look(**queues: int) -> dict[str, Any]:
    return {name: SimpleNamespace(consumer_count=count, message_count=0) for name, count in queues.items()}


def test_the_lowest_is_the_lowest_of_the_fault() -> None:
    watch = Watch("amqp://", ["x", "y"])
    watch.note(look(x=0, y=0))  # before
    watch.counting = True
    for x, y in ((2, 2), (1, 3), (2, 1)):
        watch.note(look(x=x, y=y))
    watch.counting = False
    watch.note(look(x=0, y=0))
    assert (watch.lowest, watch.lowest_total, watch.consumers) == ({"x": 1, "y": 1}, 3, {"x": 0, "y": 0})


def test_the_gap_is_the_longest_on_any_host() -> None:
    effects = [effect("a", "start", at=at) for at in (1, 2, 5)] + [effect("b", "start", at=3, host="w2")]
    assert gap(effects, ["w1"], since=0, until=6) == 3
    assert gap(effects, ["w1", "w2"], since=0, until=7) == 4
    assert gap([], ["w1"], since=2, until=8) == 6


# --- what a failure shows ---------------------------------------------------------------------------------------------


def test_the_journal_of_a_failure_leaves_out_ordinary_tasks() -> None:
    journal = [
        "Nov 23 08:44:07 worker1 celery-worker-fast@2[488]: Task effects.flaky[9c70] received",
        "Nov 23 08:44:07 worker1 celery-worker-fast@2[724]: Task effects.fast[70a0] succeeded in 0.04s: None",
        "Nov 23 08:49:53 worker1 python[89]:   . effects.fast",
        "Nov 23 08:44:08 worker1 celery-worker-fast@2[724]: Task effects.fast[70a0] raised unexpected: KeyError()",
        "Nov 23 08:49:54 worker1 systemd[1]: Started celery-worker-fast@2.service.",
    ]
    assert notable("\n".join(journal)) == journal[3:]
    assert notable("\n".join(journal), lines=1) == journal[4:]


# --- the result backend -----------------------------------------------------------------------------------------------


def test_where_results_are_kept_tasks_need_them() -> None:
    kinds = Counter(job.task for job in islice(mix(40, kinds=RESULTS), 2000))
    assert set(kinds) == {f"effects.{name}" for name in ("fast", "slow", "threaded", "flaky", "tracked", "chorded")}
    assert min(kinds["effects.tracked"], kinds["effects.chorded"]) > 200


def test_the_login_of_the_result_backend_is_read_from_its_url() -> None:
    assert login("redis://results:p%27w@10.0.0.1:6379/1") == {
        "user": "results",
        "password": "'p'\"'\"'w'",
        "database": "1",
    }


def test_a_chord_is_done_when_its_body_is() -> None:
    started = [effect("a", "start"), effect("b", "start"), effect("b", "start")]
    account = settle(["a", "b"], [*started, effect("b", "end", host="w2")])
    assert (account.missing, account.twice, account.cut_off) == (("a",), (), 1)
