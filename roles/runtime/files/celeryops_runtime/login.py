# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m celeryops_runtime login``: whether broker and result backend let this host in, and keep something.

A worker that cannot store results takes no task, and one that its broker refuses waits for ever: both start all the
same. So they are asked before, from every host that will use them, with what it will use.

Standard input has ``settings``, ``broker_url`` and ``result_backend`` where they are not those of this host yet.
"""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.app.utils import find_app
from celery.exceptions import ImproperlyConfigured

from celeryops_runtime import objects, outcomes, settings
from celeryops_runtime.errors import ConfigurationError

#: Seconds in which one that does not answer is asked again, and between two questions.
PATIENCE, PAUSE = 10.0, 1.0
#: What redis-py and the databases say of a user.
_REFUSED = ("AuthenticationError", "AuthenticationWrongNumberOfArgsError", "AuthorizationError")
_FORBIDDEN = ("NoPermissionError",)
#: What they, and the system, say of one that cannot be reached.
_SILENT = ("OSError", "ConnectionError", "TimeoutError", "OperationalError", "InterfaceError")


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(outcomes.cause(error)).__mro__}


#: Where the address and the login of a result backend stand: in the inventory, or in the application.
_ADDRESS = ("the application's own result_backend setting", "celery_result_backend")
_LOGIN = (_ADDRESS[False], "celery_result_backend, or celery_result_user, and celery_result_password")


def refusal(place: str, error: BaseException, planned: bool) -> str:
    """One sentence about a result backend, which the plan or the application names, that did not keep something."""
    kinds, reason = _kinds(error), outcomes.said(error).split(": ", 1)[-1].strip(" .") or type(error).__name__
    if kinds.intersection(_REFUSED):
        return (
            f"The result backend {place} refuses the login ({reason}): check the user and the password in "
            f"{_LOGIN[planned]}."
        )
    if kinds.intersection(_FORBIDDEN):
        return f"The result backend {place} does not let its user store results ({reason}): have it allowed there."
    if kinds.intersection(_SILENT):
        return (
            f"The result backend {place} does not answer ({reason}): check the address in {_ADDRESS[planned]}, and "
            "what keeps this host from it."
        )
    return f"The result backend {place} stores nothing ({reason}): have that mended there."


def results(app: Any, planned: bool) -> str:
    """What keeps this app from storing results, where the plan or itself says; empty where nothing does."""
    backend = app.backend
    end = time.monotonic() + PATIENCE
    while backend.as_uri() != "rpc://":  # results by the broker
        try:
            outcomes.ask(backend)
            break
        except Exception as error:
            if time.monotonic() >= end or _kinds(error).intersection((*_REFUSED, *_FORBIDDEN)):
                return refusal(outcomes.place(app), error, planned)
        time.sleep(PAUSE)
    return ""


def broker(shared: Mapping[str, Any]) -> None:
    """Log in at the broker; a Redis, whose rights nothing else tries, keeps something for a moment."""
    with objects.opened(shared) as connection:
        if connection.transport.driver_type == "redis":
            try:
                connection.default_channel.client.set("celeryops-login", 1, px=1000)
            except Exception as error:
                raise ConfigurationError(
                    f"The broker at {connection.hostname}:{connection.port} lets this host in, but keeps nothing "
                    f"({str(error).strip(' .')}): have that mended there."
                ) from None


def run(text: str, environ: Mapping[str, str], name: str, ask_broker: bool) -> int:
    """The command; without the name of an app it is one that has the settings alone."""
    given = json.loads(text or "{}")
    planned = "settings" in given
    if planned:
        urls = {"CELERY_BROKER_URL": given["broker_url"], "CELERY_RESULT_BACKEND": given["result_backend"]}
        shared = settings.made(given["settings"], urls)
    else:
        shared = settings.read(environ)
    if ask_broker:
        broker(shared)
    app = find_app(name) if name else Celery("login", set_as_current=False)
    settings.install(app, shared)
    try:
        problem = results(app, "result_backend" in shared)
    except (ImportError, ImproperlyConfigured) as error:
        if planned:  # with the release that runs, and the next one may bring what this one lacks
            return 0
        problem = f"The release cannot store results ({error}): add what is missing to its requirements."
    if problem:
        print(f"celeryops: {problem}", file=sys.stderr)
    return 1 if problem else 0
