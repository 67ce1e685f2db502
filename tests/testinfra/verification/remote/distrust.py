# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects as the application does, and as it does where the certificate is not the one that it accepts.

Runs on a host inside the application's environment.
"""

from collections.abc import Callable
from typing import Any


def outcome(connect: Callable[[], Any]) -> str:
    """What came of it: ``connected``, or why not."""
    try:
        connect()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "connected"


def main(data: Any) -> dict[str, str]:
    """Outcomes by service and by whom the client trusts."""
    from celery.utils.imports import symbol_by_name

    app = symbol_by_name(data["app"])
    broker, backend = dict(app.conf.broker_use_ssl), dict(app.conf.redis_backend_use_ssl or {})

    def to_broker(**changed: Any) -> Callable[[], Any]:
        return lambda: app.connection(ssl={**broker, **changed}, connect_timeout=5).connect()

    found = {
        "broker, as it is": outcome(to_broker()),
        "broker, other CAs": outcome(to_broker(ca_certs=data["other_cas"])),
        "broker, another name": outcome(to_broker(server_hostname="another.example.org")),
    }
    if backend:
        from redis import Redis

        def to_backend(**changed: Any) -> Callable[[], Any]:
            options = {key: value for key, value in backend.items() if key != "ssl_cert_reqs"}
            return lambda: Redis.from_url(app.conf.result_backend, **{**options, **changed}).ping()

        found["backend, as it is"] = outcome(to_backend())
        found["backend, other CAs"] = outcome(to_backend(ssl_ca_certs=data["other_cas"]))
    return found
