# SPDX-License-Identifier: GPL-3.0-or-later
"""The Celery loader that gives unchanged code the shared settings.

Every ``Celery()`` asks ``$CELERY_LOADER`` for its loader, so one environment variable serves workers, beat, the
``celery`` command, an app's own scripts and its web processes alike.
"""

import os
from typing import Any

from celery.loaders.app import AppLoader

from celeryops_runtime import delays, settings

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
        settings.on_configure(self.app, settings.read(os.environ, sends_only=self.sends_only))
        return super().conf


class Producer(Loader):
    """The same for processes elsewhere that only send tasks, as the broker's user for producers."""

    sends_only = True
