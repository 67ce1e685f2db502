# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a worker that says it consumes does so: judged by two looks at it, and by nothing else."""

from dataclasses import dataclass

#: Two looks that are closer together than this, in seconds, say nothing.
APART = 30.0


@dataclass(frozen=True)
class Sample:
    """One look: what the worker's main process wrote of itself, and what waits in its queues."""

    unit: str
    pid: int
    state: str
    #: When that state began.
    since: float
    #: When this was written.
    at: float
    running: int
    finished: int
    held: int
    quiet: float
    hold: float | None
    #: Messages that wait in its queues.
    ready: int = 0


@dataclass(frozen=True)
class Verdict:
    """What to do, and why."""

    reason: str
    #: Its main process hangs: end it.
    end: bool = False
    #: The earlier look is still the one to compare with.
    keep: bool = False


def judge(before: Sample | None, now: Sample) -> Verdict:
    """One worker, by what it was before. When in doubt it lives: the watchdog is there as well."""
    if now.state != "consuming":
        return Verdict(f"{now.state}: left alone")
    tasks = f"{now.running} running, {now.finished} done, {now.ready} ready"
    if before is None or (before.unit, before.pid, before.state, before.since) != (
        now.unit,
        now.pid,
        now.state,
        now.since,
    ):
        return Verdict(f"seen for the first time: {tasks}")
    passed = now.at - before.at
    if passed < APART:
        return Verdict(f"nothing new since the last look: {tasks}", keep=True)
    if (before.running, before.finished) != (now.running, now.finished) or now.quiet < passed:
        return Verdict(f"alive: {tasks}")
    if now.running:
        if now.hold is not None and before.quiet > now.hold:
            return Verdict(
                f"{now.running} tasks run and none has ended for {now.quiet:.0f} s, "
                f"though each must within {now.hold:.0f} s",
                end=True,
            )
        return Verdict(f"busy: {tasks}")
    if before.held or now.held:
        return Verdict(f"holds tasks back for their time: {tasks}")
    if before.ready and now.ready:
        return Verdict(
            f"{now.ready} messages are ready and nothing has run for {now.quiet:.0f} s: its consumer is gone", end=True
        )
    return Verdict(f"idle: {tasks}")
