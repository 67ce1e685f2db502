# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping this package's faults away from a healthy worker."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

P = ParamSpec("P")
logger = logging.getLogger(__name__)


def harmless(function: Callable[P, object]) -> Callable[P, None]:
    """Log what goes wrong in this function and go on."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logger.exception("celeryops: %s failed; the service goes on without it", function.__qualname__)

    return guarded
