# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a process's Celery applications the settings are for.

They are for ``celery_app`` alone: a second ``Celery()`` that speaks to another broker keeps its own settings. Which one
is ``celery_app`` is known once its module has been imported; nothing is imported to find that out.
"""

import os
import sys
from types import ModuleType
from typing import Any

from celery import _state
from celery.app.base import Celery
from celery.app.utils import Settings, find_app

from celeryops_runtime.layers import Shared


def _imported(name: str, **_: Any) -> ModuleType:
    """The module of that name, where it is imported already."""
    if module := sys.modules.get(name):
        return module
    raise ImportError(name)


def loaded(named: str) -> Any:
    """The application that Celery finds under this name; None where its module is not imported, or not all of it."""
    try:
        found = find_app(named, imp=_imported)
    except (AttributeError, ImportError):
        return None
    if ":" not in named and getattr(getattr(sys.modules.get(named), "__spec__", None), "_initializing", False):
        return None  # Celery took the first that it saw
    while hasattr(found, "_get_current_object"):
        found = found._get_current_object()
    return found if isinstance(found, Celery) else None


def own(conf: Any) -> Any:
    """An application's configuration without the settings of the deployment."""
    return type(conf)({}, [layer for layer in conf.maps if not isinstance(layer, Shared)], conf._keys, conf.prefix)


def has(conf: Any, name: str) -> bool:
    """Whether the settings of the deployment say this of the application."""
    return any(isinstance(layer, Shared) and name in layer for layer in conf.maps)


def is_meant(app: Any, conf: Any, named: str) -> bool | None:
    """Whether the settings for the application of this name are this one's; None while that is not known.

    Two more stand for it: Celery's own default one, which shared tasks use where no other was made current, and what a
    factory makes again, which has the same name and the same broker of its own.
    """
    if not named:
        return True
    if app.main == "default" and app is _state.default_app:
        return True
    meant = loaded(named)
    if meant is None or meant is app:
        return None if meant is None else True
    return bool(meant.main == app.main and own(meant.conf.finalize()).get("broker_url") == own(conf).get("broker_url"))


def _environments(name: str, variable: str, *fallbacks: str) -> property:
    """A setting that Celery takes from the environment first, for every application of the process."""

    def read(conf: Any) -> Any:
        return (os.environ.get(variable) if has(conf, name) else None) or conf.first(name, *fallbacks)

    return property(read)


def _direction(name: str) -> property:
    """The broker for one direction: only an application of its own may have another one there."""

    def read(conf: Any) -> Any:
        return (None if has(conf, "broker_url") else conf.get(name)) or conf.broker_url

    return property(read)


def keep_urls_apart() -> None:
    """Let the environment's broker and result backend be those of ``celery_app`` alone."""
    kinds: Any = Settings
    kinds.broker_url = _environments("broker_url", "CELERY_BROKER_URL", "broker_host")
    kinds.result_backend = _environments("result_backend", "CELERY_RESULT_BACKEND", "CELERY_RESULT_BACKEND")
    kinds.broker_read_url = _direction("broker_read_url")
    kinds.broker_write_url = _direction("broker_write_url")
