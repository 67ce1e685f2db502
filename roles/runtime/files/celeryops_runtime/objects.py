# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m celeryops_runtime declare``: the plan's exchanges, queues and bindings on a broker somebody else runs.

They are declared over AMQP, with the rights of the application's own user, before any worker starts. What exists with
other properties cannot be declared: each gets a sentence. With ``check`` nothing is declared; it is looked whether all
queues and exchanges are there.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import kombu

from celeryops_runtime import settings
from celeryops_runtime.errors import ConfigurationError

#: RabbitMQ's words about something that exists with another property.
INEQUIVALENT = re.compile(r"inequivalent arg '([^']+)' .*?received (?:the value )?(.+?) but current is (.+?)\W*$")
_kombu: Any = kombu


class Objects:
    """What is to be there, on one connection."""

    def __init__(self, connection: Any, check: bool) -> None:
        self.connection, self.check = connection, check
        self.problems: list[str] = []
        self.made: list[str] = []

    def everything(self, wanted: Mapping[str, Any]) -> None:
        """Declare or look at all of it."""
        for each in wanted.get("exchanges") or ():
            own = {key: each[key] for key in ("durable", "auto_delete", "arguments")}
            declare = partial(self._call, "exchange_declare", each["name"], each["type"], **own)
            self._one("exchange", each["name"], f"{each['type']}, durable", declare)
        for each in wanted.get("queues") or ():
            own = {key: each[key] for key in ("durable", "auto_delete", "arguments")}
            kind = each["arguments"].get("x-queue-type", "classic")
            self._one(
                "queue", each["name"], f"{kind}, durable", partial(self._call, "queue_declare", each["name"], **own)
            )
        for each in () if self.check else wanted.get("bindings") or ():
            name = f"of {each['destination']} to {each['source']} by {each['routing_key']!r}"
            ends = (each["destination"], each["source"], each["routing_key"])
            try:
                self._call(f"{each['destination_type']}_bind", *ends, arguments=each["arguments"])
            except self.connection.channel_errors as error:
                self.problems.append(self._sentence("binding", name, "", error))

    def _call(self, method: str, *arguments: Any, **options: Any) -> None:
        """Each on a channel of its own: an error closes it."""
        channel = self.connection.channel()
        getattr(channel, method)(*arguments, **options)
        channel.close()

    def _one(self, kind: str, name: str, wanted: str, declare: Callable[..., None]) -> None:
        try:
            try:
                declare(passive=True)
                new = False
            except self.connection.channel_errors as error:
                if self.check or getattr(error, "code", 0) != 404:
                    raise
                new = True
            if not self.check:
                declare()
                self.made += [f"{kind} {name}"] if new else []
        except self.connection.channel_errors as error:
            self.problems.append(self._sentence(kind, name, wanted, error))

    def _sentence(self, kind: str, name: str, wanted: str, error: Any) -> str:
        code, text = getattr(error, "code", 0), str(getattr(error, "message", error))
        described = f"{kind} {name}" + (f" ({wanted})" if wanted else "")
        if code == 406 and (found := INEQUIVALENT.search(text)):
            argument, wants, has = (part.strip("' ") for part in found.groups())
            return (
                f"The broker has the {kind} {name} with {argument} {has} instead of {wants}, which cannot be changed "
                "in place: have it emptied and deleted there, or give this one another name in celery_workers."
            )
        if code == 404:
            return f"The broker has no {described}: have it made by whoever runs the broker."
        if code == 403:
            return (
                f"The user {self.connection.userid} may not declare the {described}: have it allowed, or "
                "have it made by whoever runs the broker and write 'celery_broker_declare: false'."
            )
        return f"The broker refused the {described}: {text}."


@contextmanager
def opened(shared: Mapping[str, Any]) -> Iterator[Any]:
    """The broker, or a sentence about why it cannot be reached."""
    with _kombu.Connection(
        shared["broker_url"],
        ssl=shared.get("broker_use_ssl") or False,
        login_method=shared.get("broker_login_method"),
        connect_timeout=shared.get("broker_connection_timeout", 4),
        transport_options={"read_timeout": 20, "write_timeout": 20},
    ) as connection:
        errors = (OSError, *connection.connection_errors, *connection.channel_errors)
        try:
            connection.ensure_connection(max_retries=3, interval_start=1, reraise_as_library_errors=False)
        except errors as error:
            raise ConfigurationError(
                f"The broker at {connection.hostname} does not let {connection.userid} into "
                f"{connection.virtual_host!r} ({str(error) or type(error).__name__}): "
                "check celery_broker and celery_broker_password."
            ) from None
        yield connection


def run(text: str, environ: Mapping[str, str], check: bool = False) -> int:
    """Do it, for the objects in this JSON; the exit code is 1 when there is something to complain about."""
    with opened(settings.read(environ)) as connection:
        objects = Objects(connection, check)
        objects.everything(json.loads(text))
    for made in objects.made:
        print(f"declared: {made}")
    for problem in objects.problems:
        print(f"celeryops: {problem}", file=sys.stderr)
    return 1 if objects.problems else 0
