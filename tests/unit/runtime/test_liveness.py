# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is ended by the probe, and above all who is not."""

from dataclasses import replace
from typing import Any

import pytest
from celeryops_runtime.liveness import APART, Sample, judge
from hypothesis import given
from hypothesis import strategies as st

#: A worker whose consumer is gone, seen twice.
GONE = Sample(
    unit="celery-worker-critical@1",
    pid=7,
    state="consuming",
    since=1000.0,
    at=2000.0,
    running=0,
    finished=5,
    held=0,
    quiet=100.0,
    hold=90.0,
    ready=3,
)
GONE_LATER = replace(GONE, at=2060.0, quiet=160.0)
#: One whose tasks outlive every limit.
STUCK = replace(GONE, running=2, ready=0, quiet=91.0)
STUCK_LATER = replace(STUCK, at=2060.0, quiet=151.0)


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        (GONE, GONE_LATER, "3 messages are ready and nothing has run for 160 s: its consumer is gone"),
        (STUCK, STUCK_LATER, "2 tasks run and none has ended for 151 s, though each must within 90 s"),
    ],
)
def test_who_hangs_is_ended(before: Sample, now: Sample, reason: str) -> None:
    verdict = judge(before, now)
    assert verdict.end
    assert verdict.reason == reason


#: What makes each of the two innocent.
INNOCENT: list[tuple[Sample, dict[str, Any], Sample, dict[str, Any], str]] = [
    (GONE, {}, GONE_LATER, {"state": "waiting"}, "waiting: left alone"),
    (GONE, {}, GONE_LATER, {"state": "stopping"}, "stopping: left alone"),
    (GONE, {}, GONE_LATER, {"state": "starting"}, "starting: left alone"),
    (STUCK, {}, STUCK_LATER, {"state": "stopping"}, "stopping: left alone"),
    (GONE, {}, GONE_LATER, {"pid": 8}, "seen for the first time"),
    (GONE, {}, GONE_LATER, {"unit": "celery-worker-bulk@1"}, "seen for the first time"),
    (GONE, {"state": "waiting"}, GONE_LATER, {}, "seen for the first time"),
    (GONE, {}, GONE_LATER, {"since": 2030.0}, "seen for the first time"),
    (GONE, {}, GONE_LATER, {"at": GONE.at}, "nothing new since the last look"),
    (GONE, {}, GONE_LATER, {"at": GONE.at + APART - 1}, "nothing new since the last look"),
    (GONE, {}, GONE_LATER, {"finished": 6}, "alive"),
    (GONE, {}, GONE_LATER, {"running": 1}, "alive"),
    (GONE, {}, GONE_LATER, {"quiet": 59.0}, "alive"),
    (GONE, {}, GONE_LATER, {"held": 1}, "holds tasks back"),
    (GONE, {"held": 1}, GONE_LATER, {}, "holds tasks back"),
    (GONE, {}, GONE_LATER, {"ready": 0}, "idle"),
    (GONE, {"ready": 0}, GONE_LATER, {}, "idle"),
    (STUCK, {}, STUCK_LATER, {"finished": 6}, "alive"),
    (STUCK, {}, STUCK_LATER, {"quiet": 59.0}, "alive"),
    (STUCK, {"quiet": 90.0}, STUCK_LATER, {}, "busy"),
    (STUCK, {}, STUCK_LATER, {"hold": 200.0}, "busy"),
    (STUCK, {}, STUCK_LATER, {"hold": None}, "busy"),
]


@pytest.mark.parametrize(("before", "then", "now", "changed", "reason"), INNOCENT)
def test_who_may_be_well_lives(
    before: Sample, then: dict[str, Any], now: Sample, changed: dict[str, Any], reason: str
) -> None:
    verdict = judge(replace(before, **then), replace(now, **changed))
    assert not verdict.end
    assert verdict.reason.startswith(reason)


def test_one_look_is_not_enough() -> None:
    assert not judge(None, GONE_LATER).end
    assert not judge(None, STUCK_LATER).end


def test_looks_too_close_together_keep_the_first() -> None:
    assert judge(GONE, replace(GONE_LATER, at=GONE.at + 1)).keep
    assert not judge(GONE, GONE_LATER).keep


samples = st.builds(
    Sample,
    unit=st.sampled_from(["a", "b"]),
    pid=st.integers(1, 2),
    state=st.sampled_from(["consuming", "waiting", "stopping", "starting"]),
    since=st.sampled_from([1.0, 2.0]),
    at=st.floats(0, 1000),
    running=st.integers(0, 2),
    finished=st.integers(0, 2),
    held=st.integers(0, 1),
    quiet=st.floats(0, 1000),
    hold=st.none() | st.floats(30, 500),
    ready=st.integers(0, 2),
)


@given(st.none() | samples, samples)
def test_nobody_is_ended_without_two_equal_looks_at_the_same_consuming_process(
    before: Sample | None, now: Sample
) -> None:
    if judge(before, now).end:
        assert before is not None
        assert (before.unit, before.pid, before.since) == (now.unit, now.pid, now.since)
        assert before.state == now.state == "consuming"
        assert (before.running, before.finished) == (now.running, now.finished)
        assert now.at - before.at >= APART
        assert now.quiet >= now.at - before.at
        overdue = now.hold is not None and now.running > 0 and before.quiet > now.hold
        starved = not (now.running or now.held or before.held) and bool(now.ready and before.ready)
        assert overdue or starved
