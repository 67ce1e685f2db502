# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery's result backend for a primary that Sentinels know, which is found again as the broker's is."""

from typing import Any

from celery.backends import redis

from celeryops_runtime import primary


class SentinelBackend(redis.SentinelBackend):
    """Asks for the primary at every attempt, and each Sentinel once."""

    connection_class_ssl = primary.SSLConnection

    def _get_sentinel_instance(self, **params: Any) -> Any:
        return primary.ask_once(super()._get_sentinel_instance(**{"connection_class": primary.Connection, **params}))
