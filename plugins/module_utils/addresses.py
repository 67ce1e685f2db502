# SPDX-License-Identifier: GPL-3.0-or-later
"""What may not stand in an address, or in a setting that everybody on a host can read; secrets are never repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

#: How the names of secrets end, and where in an address one may be: before the host, or in the query.
_SECRET_NAME = re.compile(
    r"(passw(or)?d|passphrase|\bpass|_pass|secret|token|api_?key|access_?key|credentials?)$", re.IGNORECASE
)
_LOGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@:]*:[^\s]+@")
#: Options of TLS that say how the server is verified, and the values that do verify it.
VERIFIED = {
    "cert_reqs": ("required", "2"),
    "ssl_cert_reqs": ("required", "2"),
    "ssl_check_hostname": ("true",),
}
ENVIRONMENT = "write it into celery_secret_environment (vault), from where the application reads it"


def query_problem(variable: str, url: str, secret: str) -> str | None:
    """What a URL's query may not say: nothing may, as it would go before what the plan says of the connection."""
    names = [name for name, _value in parse_qsl(urlsplit(url).query, keep_blank_values=True)]
    for name in names:
        if _SECRET_NAME.search(name) or name.lower() in ("user", "userid", "username"):
            return (
                f"{variable} has a login in its query; write the URL without it, and the password into {secret} (vault)"
            )
    for name in names:
        if name.lower() in VERIFIED:
            return (
                f"{variable} says in its query how the server is verified, which it always is; write the URL without "
                "that, and the certificate of a CA of your own into celery_tls_ca_certificate"
            )
    if "?" in url:
        return f"{variable} has a query, which would overrule the plan; write the URL without what begins at its '?'"
    return None


def has_secret(text: str) -> bool:
    """Whether a text holds an address with a password."""
    if _LOGIN.search(text):
        return True
    query = re.search(r"://[^\s#]*\?([^\s#]*)", text)
    return any(_SECRET_NAME.search(name) for name, value in parse_qsl(query[1] if query else "") if value)


def settings_problems(variable: str, settings: Any) -> list[str]:
    """Secrets in settings, which lie in a file that every user of a host can read, and TLS that verifies nobody."""
    found = []
    for where, name, value in _each(variable, settings):
        if isinstance(value, str) and has_secret(value):
            found.append(f"{where} is an address with a password, and everybody on a host can read it; {ENVIRONMENT}")
        elif isinstance(value, str) and value and _SECRET_NAME.search(name):
            found.append(f"{where} is secret by its name, and everybody on a host can read it; {ENVIRONMENT}")
        elif name in VERIFIED and str(value).lower().removeprefix("cert_") not in VERIFIED[name]:
            found.append(
                f"{where} is {value!r}, so whoever is on the way could be the server; remove it, and write the "
                "certificate of a CA of your own into celery_tls_ca_certificate"
            )
        elif name in ("broker_use_ssl", "redis_backend_use_ssl") and not isinstance(value, Mapping):
            found.append(
                f"{where} is {value!r}, with which nobody verifies the server's name; remove it: the plan derives "
                "it from an address that begins with amqps:// or rediss://, or from celery_tls"
            )
    return found


def environment_problems(variable: str, environment: Any) -> list[str]:
    """Passwords among what is not secret."""
    return [
        f"{where} is an address with a password; {ENVIRONMENT}"
        for where, _name, value in _each(variable, environment)
        if isinstance(value, str) and has_secret(value)
    ]


def _each(where: str, value: Any, name: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every value within, with where it stands and the name that it has there."""
    yield where, name, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _each(f"{where}.{key}", item, str(key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _each(f"{where}[{number}]", item, name)
