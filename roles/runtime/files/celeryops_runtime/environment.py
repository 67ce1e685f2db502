# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of a process, put right before the application reads it.

Variables that would undo the plan are taken away.

Celery's own command takes every option of its worker and beat from ``CELERY_WORKER_*`` and ``CELERY_BEAT_*``:
``CELERY_WORKER_PURGE`` would empty the queues. ``REMAP_SIGTERM`` makes of a stop one that kills running tasks.
An inventory that sets one is refused; they may come from elsewhere, such as systemd's own environment.
"""

import os
import re
from collections.abc import Iterable, MutableMapping

#: The rules of the role celery refuse the same ones.
UNDOING = re.compile(
    r"REMAP_SIGTERM|FORKED_BY_MULTIPROCESSING|CELERY_BEAT_.*|"
    r"CELERY_WORKER_(?!REVOKES_MAX|REVOKE_EXPIRES|SUCCESSFUL_MAX|SUCCESSFUL_EXPIRES).*"
)


def undoing(names: Iterable[str]) -> list[str]:
    """Those of the names that change what a process consumes, how many tasks it runs, or how it stops."""
    return sorted(name for name in names if UNDOING.fullmatch(name))


def clean(environ: MutableMapping[str, str]) -> list[str]:
    """Take them away, and say which there were."""
    found = undoing(environ)
    for name in found:
        del environ[name]
    return found


def give_home(environ: MutableMapping[str, str]) -> None:
    """Where the sandbox hides the user's home directory, the unit's own directory takes its place.

    Libraries look for files of their own in there and pass over what is missing, but not what they may not enter:
    libpq connects to no PostgreSQL over TLS then.
    """
    directory = environ.get("STATE_DIRECTORY", "").split(os.pathsep)[0]
    if directory and not os.access(environ.get("HOME", ""), os.X_OK):
        environ["HOME"] = directory
