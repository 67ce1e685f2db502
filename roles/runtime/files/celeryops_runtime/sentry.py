# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of tasks reach Sentry (or what speaks its protocol) with release, environment and stack trace.

The client is made in the main process, before Celery builds its task tracers and forks: the SDK starts its sending
thread anew in each child. An app that has made a client of its own keeps it.
"""

import logging
import os
from typing import Any

from celery import signals

from celeryops_runtime.credentials import Sentry
from celeryops_runtime.guard import harmless

logger = logging.getLogger(__name__)

#: Seconds that a stopping process waits for its last events.
_FLUSH = 5.0


def options(sentry: Sentry, release: str | None) -> dict[str, Any]:
    """What the client is made with. Arguments and local variables of tasks may be secret and are not sent."""
    from sentry_sdk.integrations.celery import CeleryIntegration

    return {
        "dsn": sentry.dsn,
        "environment": sentry.environment,
        "release": release,
        "traces_sample_rate": sentry.sample_rate,  # of transactions; every error is sent
        "include_local_variables": False,
        "send_default_pii": False,
        "integrations": [CeleryIntegration(monitor_beat_tasks=False)],
    }


def start(sentry: Sentry, release: str | None) -> bool:
    """Make the client, unless the app has made one; tells whether it did."""
    try:
        import sentry_sdk
    except ImportError:
        logger.error("A Sentry DSN is set but the app's release has no sentry-sdk: errors are not reported.")
        return False
    if sentry_sdk.get_client().is_active():
        return False
    sentry_sdk.init(**options(sentry, release))
    _tag()
    return True


def _tag() -> None:
    """Tell the commit beside the release, whose name has none."""
    import sentry_sdk

    if commit := os.environ.get("CELERYOPS_COMMIT"):
        sentry_sdk.get_global_scope().set_tag("commit", commit)


def connect(sentry: Sentry | None, release: str | None) -> None:
    """Listen to Celery."""
    if sentry is None:
        return
    settings = sentry

    def begin(**_: Any) -> None:
        start(settings, release)

    def flush(**_: Any) -> None:
        import sentry_sdk

        sentry_sdk.flush(timeout=_FLUSH)

    for signal in (signals.celeryd_init, signals.beat_init):
        signal.connect(harmless(begin), weak=False)
    for signal in (signals.worker_process_shutdown, signals.worker_shutdown):
        signal.connect(harmless(flush), weak=False)


def send_event(sentry: Sentry, release: str | None, text: str, timeout: float = 20.0) -> tuple[str | None, str | None]:
    """Send one event and wait for the answer: its id, and why it did not arrive (None when it did)."""
    import sentry_sdk
    from sentry_sdk.transport import HttpTransport

    answered: list[bool] = []
    problems: list[str] = []

    class Transport(HttpTransport):
        """The SDK's own, which keeps to itself whether an event arrived."""

        def _send_request(self, *args: Any, **kwargs: Any) -> None:
            super()._send_request(*args, **kwargs)
            answered.append(True)

        def on_dropped_event(self, _reason: str) -> None:
            problems.append(_reason)

    sentry_sdk.init(**options(sentry, release), transport=Transport)
    _tag()
    event_id = sentry_sdk.capture_message(text, level="info")
    sentry_sdk.flush(timeout=timeout)
    if problems:
        return event_id, f"the tracker did not take the event ({problems[0]})"
    return event_id, None if answered else f"the tracker did not answer within {timeout:.0f} seconds"
