# SPDX-License-Identifier: GPL-3.0-or-later
"""For processes that only send tasks, such as a web app."""

import os
from typing import Any

from celeryops_runtime import credentials, settings

#: Where the roles put the settings on every host.
SETTINGS_FILE = "/etc/celery/settings.json"


def configure(app: Any, settings_file: str | os.PathLike[str] | None = None) -> None:
    """Make this app send tasks as the workers expect them: same queues, serializers and publisher confirms.

    Call it once, anywhere after ``app = Celery(...)`` and before the first task is sent. The broker's URL is taken
    from ``$CELERY_BROKER_URL`` where that is set, else from the unit's credentials (``LoadCredential=``) where it has
    them, else it stays the app's own. A process that has
    ``CELERY_LOADER=celeryops_runtime.loader:Producer`` in its environment need not call this.
    """
    path = settings_file or os.environ.get("CELERYOPS_SETTINGS") or SETTINGS_FILE
    settings.install(app, settings.read(credentials.beside(os.environ), path, sends_only=True))
