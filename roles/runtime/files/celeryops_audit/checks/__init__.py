# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks, a module for each subject. Each is a function from what is known to what is wrong."""

from __future__ import annotations

import importlib

#: In the order in which their findings are shown.
SUBJECTS = (
    "application",
    "broker",
    "limits",
    "queues",
    "delivery",
    "retries",
    "schedule",
    "results",
    "parameters",
    "code",
    "deployment",
)


def load() -> list[str]:
    """Register all checks; the names of their modules."""
    return [importlib.import_module(f"{__name__}.{subject}").__name__ for subject in SUBJECTS]
