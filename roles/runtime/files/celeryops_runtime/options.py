# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker's unit asks of this package, beside Celery's own options."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The defaults are those of a worker that was started by hand."""

    #: Seconds that a warm stop may take: the unit's stop time-out when it started.
    stop_timeout: float | None = None
    at_most_once: bool = False
    no_events: bool = False
