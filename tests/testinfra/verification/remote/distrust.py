# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects as the application does, and as it does where the certificate is not the one that it accepts.

Runs on a host inside the application's environment.
"""

import ssl
from collections.abc import Callable, Collection
from typing import Any
from unittest.mock import patch

#: Settings of the broker and of the result backend: how it is verified, and the options that it has.
SETTINGS = {
    "broker": ("broker_use_ssl", "broker_transport_options"),
    "backend": ("redis_backend_use_ssl", "result_backend_transport_options"),
}

SENTINEL_PORT = 26379
#: Where py-amqp and redis-py have the file of the CA.
AUTHORITY = ("ca_certs", "ssl_ca_certs")


def outcome(connect: Callable[[], Any]) -> str:
    """What came of it: ``connected``, or why not."""
    try:
        connect()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "connected"


def to_another_name(wrap: Any, spared: Collection[int]) -> Any:
    """A handshake with whoever is there, who is taken for another host, but for those at these ports."""

    def handshake(self: Any, *args: Any, **kwargs: Any) -> Any:
        sock = args[0] if args else kwargs["sock"]
        name = kwargs.pop("server_hostname") if sock.getpeername()[1] in spared else "another.example.org"
        return wrap(self, *args, **{**kwargs, "server_hostname": name})

    return handshake


def ask(sentinel: Any, _service: str) -> None:
    """Instead of a Sentinel's answer, as redis-py says of one only that it was not reached."""
    sentinel.sentinels[0].ping()


def main(data: Any) -> dict[str, str]:
    """Outcomes by service and by whom the client trusts."""
    from celery import Celery
    from celery.utils.imports import symbol_by_name

    conf = symbol_by_name(data["app"]).conf

    def client(service: str, **changed: Any) -> Callable[[], Any]:
        app = Celery(broker=conf.broker_url, backend=conf.result_backend, set_as_current=False)
        assert app.conf.task_serializer  # so the settings are read, and celeryops_runtime lays its own over them
        app.conf.maps.insert(0, {name: conf[name] for names in SETTINGS.values() for name in names} | changed)
        if service == "backend":
            return app.backend.client.ping
        return lambda: app.connection(connect_timeout=5).connect()

    def distrusting(options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        return {k: data["other_cas"] if k in AUTHORITY else distrusting(v) for k, v in options.items()}

    def outcomes(service: str, verified: str, spared: Collection[int]) -> dict[str, str]:
        other = outcome(client(service, **{verified: distrusting(conf[verified])}))
        with patch("ssl.SSLContext.wrap_socket", to_another_name(ssl.SSLContext.wrap_socket, spared)):
            return {"other CAs": other, "another name": outcome(client(service))}

    found = {}
    for service, (verified, options) in SETTINGS.items():
        if not conf[verified]:
            continue
        found[f"{service}, as it is"] = outcome(client(service))
        cases = outcomes(service, verified, [SENTINEL_PORT])
        found |= {f"{service}, {case}": came for case, came in cases.items()}
        if "sentinel_kwargs" in (conf[options] or {}):
            with patch("redis.sentinel.Sentinel.discover_master", ask):
                cases = outcomes(service, options, [])
            found |= {f"Sentinels for the {service}, {case}": came for case, came in cases.items()}
    return found
