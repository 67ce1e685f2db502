# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m celeryops_runtime declare``: the plan's exchanges, queues and bindings on a broker somebody else runs.

They are declared over AMQP, with the rights of the application's own user, before any worker starts. What exists with
other properties cannot be declared: each gets a sentence, and nothing is declared beside it. With ``check`` nothing is
declared; it is looked whether all queues and exchanges are there.

Standard input has the ``objects`` and, where they are not those of this host yet, ``settings`` and ``broker_url``.
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
INEQUIVALENT = re.compile(r"inequivalent arg '([^']+)' .*?received (.+?) but current is (.+)")
#: Codes of AMQP for a user or a virtual host that there is not, and redis-py's errors; asking again is of no use.
REFUSED = (403, 530)
REFUSALS = ("AuthenticationError", "AuthenticationWrongNumberOfArgsError", "AuthorizationError", "NoPermissionError")
_kombu: Any = kombu


class Objects:
    """What is to be there, on one connection."""

    def __init__(self, connection: Any, check: bool) -> None:
        self.connection, self.check = connection, check
        self.problems: list[str] = []
        self.made: list[str] = []

    def everything(self, wanted: Mapping[str, Any]) -> None:
        """Look at all of it, and declare what is missing where nothing else is wrong."""
        missing = [each for each in self._each(wanted) if not self._is_there(*each)]
        if self.check or self.problems:
            return
        for kind, name, described, declare in missing:
            try:
                declare()
                self.made.append(f"{kind} {name}")
            except self.connection.channel_errors as error:
                self.problems.append(self._sentence(kind, name, described, error))
        for each in wanted.get("bindings") or ():
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

    def _each(self, wanted: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Callable[..., None]]]:
        """Exchanges and queues: kind, name, description, and what declares it."""
        for each in wanted.get("exchanges") or ():
            own = {key: each[key] for key in ("durable", "auto_delete", "arguments")}
            declare = partial(self._call, "exchange_declare", each["name"], each["type"], **own)
            yield "exchange", each["name"], f"{each['type']}, durable", declare
        for each in wanted.get("queues") or ():
            own = {key: each[key] for key in ("durable", "auto_delete", "arguments")}
            kind = each["arguments"].get("x-queue-type", "classic")
            yield "queue", each["name"], f"{kind}, durable", partial(self._call, "queue_declare", each["name"], **own)

    def _is_there(self, kind: str, name: str, described: str, declare: Callable[..., None]) -> bool:
        """Whether it exists; to declare what exists changes nothing, and tells whether it is the same."""
        try:
            declare(passive=True)
            if not self.check:
                declare()
        except self.connection.channel_errors as error:
            if not self.check and getattr(error, "code", 0) == 404:
                return False
            self.problems.append(self._sentence(kind, name, described, error))
        return True

    def _sentence(self, kind: str, name: str, wanted: str, error: Any) -> str:
        code, text = getattr(error, "code", 0), str(getattr(error, "message", error))
        described = f"{kind} {name}" + (f" ({wanted})" if wanted else "")
        if code == 406 and (found := INEQUIVALENT.search(text)):
            argument, wants, has = found[1], *(_value(found[1], words) for words in found.groups()[1:])
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


def _value(argument: str, words: str) -> str:
    """RabbitMQ says 'quorum', or: the value 'quorum' of type 'longstr', or: none; no type is the classic one."""
    if quoted := re.search(r"'([^']*)'", words):
        return quoted[1]
    return "classic" if argument == "x-queue-type" else words.strip(" .")


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
            connection.ensure_connection(
                _unless_refused, max_retries=3, interval_start=1, reraise_as_library_errors=False
            )
        except errors as error:
            raise ConfigurationError(_not_connected(connection, error)) from None
        yield connection


def _refuses(error: Exception) -> bool:
    return getattr(error, "code", 0) in REFUSED or any(kind.__name__ in REFUSALS for kind in type(error).__mro__)


def _unless_refused(error: Exception, _interval: float) -> None:
    """Called before it is tried again."""
    if _refuses(error):
        raise error


def _not_connected(connection: Any, error: Any) -> str:
    """One sentence about why there is no connection."""
    place = f"The broker at {connection.hostname}:{connection.port or connection.transport.default_port}"
    reason = str(getattr(error, "message", "") or error or type(error).__name__).strip(" .")
    if _refuses(error):
        who = connection.userid or "who names no user"
        return (
            f"{place} does not let {who} into {connection.virtual_host!r} ({reason}): check the user and "
            "the virtual host in celery_broker, and celery_broker_password."
        )
    return f"{place} does not answer ({reason}): check the address in celery_broker, and what keeps this host from it."


def run(text: str, environ: Mapping[str, str], check: bool = False) -> int:
    """Do it, for the objects in this JSON; the exit code is 1 when there is something to complain about."""
    given = json.loads(text)
    planned = "broker_url" in given
    shared = {**given["settings"], "broker_url": given["broker_url"]} if planned else settings.read(environ)
    with opened(shared) as connection:
        objects = Objects(connection, check)
        objects.everything(given["objects"])
    for made in objects.made:
        print(f"declared: {made}")
    for problem in objects.problems:
        print(f"celeryops: {problem}", file=sys.stderr)
    return 1 if objects.problems else 0
