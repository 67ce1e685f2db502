# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret leaves a worker by remote control, whatever its name is: ``inspect conf``, and so Flower's pages and API.

Celery hides settings by their names, and misses those that it does not know: ``CELERY_BROKER_URL`` of Django's
settings, a cache's address, a reply of an application's own command.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from celeryops_runtime import credentials

MASK = "********"
#: What is shorter would be found in texts that have nothing to do with it; it is hidden where it is the whole text.
SHORTEST = 6
#: Passwords in addresses, whoever's they are: before the host, or in the query.
_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@:]*:)[^\s;,'\"]+(?=@)")
_QUERY = re.compile(r"([?&][A-Za-z_-]*(?:pass|secret|token)[A-Za-z_-]*=)[^\s&;,#'\"]+", re.IGNORECASE)


def passwords(text: str) -> set[str]:
    """The passwords in one or more addresses, as they stand there and as they are meant."""
    try:
        found = {part.password for part in map(urlsplit, text.split(";")) if part.password}
    except ValueError:  # it only looks like an address
        return set()
    return found | {unquote(password) for password in found}


class Masking:
    """Hides these secrets, and every password in an address."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._whole = set(secrets)
        # Also as it stands in an address, where a slash may be left as it is, and as Python and JSON write it.
        forms = {
            form
            for text in self._whole
            for form in (text, quote(text, safe=""), quote(text), repr(text)[1:-1], json.dumps(text)[1:-1])
        }
        long = sorted((re.escape(form) for form in forms if len(form) >= SHORTEST), key=len, reverse=True)
        self._part = re.compile("|".join(long)) if long else None

    def text(self, text: str) -> str:
        """This text without them."""
        if text in self._whole:
            return MASK
        if self._part:
            text = self._part.sub(MASK, text)
        if "://" in text:
            text = _QUERY.sub(rf"\1{MASK}", _LOGIN.sub(rf"\1{MASK}", text))
        return text

    def value(self, value: Any) -> Any:
        """The same in everything that this value holds."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        return [self.value(item) for item in value] if isinstance(value, (list, tuple, set, frozenset)) else value


def node_class(base: type, masking: Masking) -> type:
    """A worker's end of remote control whose answers are masked."""

    class MaskedNode(base):
        def reply(self, data: Any, *args: Any, **kwargs: Any) -> None:
            super().reply(masking.value(data), *args, **kwargs)

    return MaskedNode


def install(app: Any, environ: Mapping[str, str]) -> None:
    """Make this app's workers answer without the secrets of this unit."""
    given = credentials.read(environ)
    secrets = given.secrets()
    addresses = {*secrets, given.broker_url or "", given.result_backend or ""}
    masking = Masking(secrets.union(*map(passwords, addresses)))
    app.control.mailbox.node_cls = node_class(app.control.mailbox.node_cls, masking)
