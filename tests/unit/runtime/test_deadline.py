# SPDX-License-Identifier: GPL-3.0-or-later
"""When a block is interrupted, alone and within another one."""

import contextlib
import signal
import time
from types import SimpleNamespace

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celeryops_runtime import deadline
from celeryops_runtime.deadline import ended_in, over


def interrupted_after(outer: float | None, inner: float | None) -> float:
    """Seconds that two nested blocks were let go on."""
    began = time.monotonic()
    with pytest.raises(SoftTimeLimitExceeded), ended_in(outer), ended_in(inner):
        time.sleep(5)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    return time.monotonic() - began


@pytest.mark.parametrize(("outer", "inner"), [(0.3, None), (None, 0.3), (0.3, 4.0), (4.0, 0.3)])
def test_the_earlier_of_two_ends_counts(outer: float | None, inner: float | None) -> None:
    assert 0.25 < interrupted_after(outer, inner) < 1


def test_what_ends_in_time_takes_nothing_from_the_block_around_it_and_gives_it_nothing() -> None:
    def blocks() -> None:
        with ended_in(0.6):
            for _ in range(20):
                with ended_in(5):
                    time.sleep(0.1)

    began = time.monotonic()
    with pytest.raises(SoftTimeLimitExceeded):
        blocks()
    assert 0.5 < time.monotonic() - began < 1


def test_an_interruption_that_somebody_swallows_comes_again() -> None:
    def swallow() -> None:
        with ended_in(0.1):
            with contextlib.suppress(SoftTimeLimitExceeded):
                time.sleep(5)
            time.sleep(5)

    began = time.monotonic()
    with pytest.raises(SoftTimeLimitExceeded):
        swallow()
    assert time.monotonic() - began < 2


def test_an_interruption_that_comes_late_interrupts_nothing() -> None:
    """However close to its end a block is left, what comes after is not interrupted."""

    def block() -> None:
        with contextlib.suppress(SoftTimeLimitExceeded), ended_in(0.1):
            time.sleep(0.0999)

    for _ in range(20):
        block()
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    deadline._expired()


@pytest.mark.parametrize(
    ("limits", "own", "default", "expected"),
    [
        (None, None, None, None),
        (None, None, 20, 119),
        (None, 10, 20, 109),
        ([5, 4], 10, 20, 104),
        ([None, 4], None, 9, 108),
    ],
)
def test_the_limit_of_the_message_counts_before_the_tasks_and_the_workers(
    limits: list[float | None] | None, own: float | None, default: float | None, expected: float | None
) -> None:
    assert over(100, limits, SimpleNamespace(time_limit=own), default) == expected
