# SPDX-License-Identifier: GPL-3.0-or-later
"""The Celery loader that gives unchanged code the shared settings.

Every ``Celery()`` asks ``$CELERY_LOADER`` for its loader, so one environment variable serves workers, beat, the
``celery`` command, an app's own scripts and its web processes alike.
"""

import os
from collections.abc import Mapping
from typing import Any

from celery.loaders.app import AppLoader

from celeryops_runtime import credentials, delays, settings

#: The value of ``$CELERY_LOADER``.
NAME = "celeryops_runtime.loader:Loader"


class Loader(AppLoader):
    """Celery's usual loader, with the shared settings laid over what it reads."""

    sends_only = False

    @property
    def conf(self) -> Any:
        """The app's own configuration.

        Celery reads this exactly when it builds ``app.conf``. The constructor would be too early: with Django
        it runs before the app has its signals.
        """
        delays.round_up()
        settings.on_configure(self.app, settings.read(credentials.beside(os.environ), sends_only=self.sends_only))
        return super().conf

    @property
    def override_backends(self) -> Mapping[str, Any]:
        """What Celery asks for when it looks for the class of a result backend, which Django's models may be part of.

        They can be imported once Django is set up, which Celery does where it is about to import the tasks: not in
        ``celery call`` or ``celery result``.
        """
        from celery.fixups.django import DjangoFixup  # whoever made the app has imported it

        if any(isinstance(fixup, DjangoFixup) for fixup in self.app._fixups):
            import django
            from django.apps import apps

            if not (apps.ready or apps.loading):
                django.setup()
        return {}


class Producer(Loader):
    """The same for processes elsewhere that only send tasks, as the broker's user for producers."""

    sends_only = True
