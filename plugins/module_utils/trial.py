# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is tried with what its processes are about to get, before any of it is where a running process reads it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Here a sandboxed unit sees files, and they are gone after a restart of the host, whatever happens.
PLACE = "/run"


@contextlib.contextmanager
def trial(following: str) -> Iterator[dict[str, str]]:
    """The environment in which ``celery-run`` takes these settings and credentials instead of the host's.

    Args:
        following: JSON with ``settings``, ``credentials``, ``etc``, where the host's own are (those of other roles are
            taken from there), and ``runtime``, the folder of the one to come; empty: the host's own are taken.
    """
    if not following:
        yield {}
        return
    given = json.loads(following)
    with tempfile.TemporaryDirectory(prefix="celery-next.", dir=PLACE) as folder:
        credentials = Path(folder, "credentials")
        credentials.mkdir(mode=0o700)
        for kept in Path(given["etc"], "credentials").glob("*.json"):
            shutil.copy2(kept, credentials)
        _write(credentials / "celery.json", given["credentials"], 0o600)
        _write(Path(folder, "settings.json"), given["settings"], 0o644)
        os.chmod(folder, 0o711)  # noqa: S103 the service user reads the settings, by their name
        runtime = {"CELERY_RUNTIME": given["runtime"]} if os.path.isdir(given["runtime"]) else {}
        yield {"CELERY_ETC": folder, **runtime}


def _write(path: Path, content: object, mode: int) -> None:
    """Write a file that nobody else could read for a moment."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
        json.dump(content, stream)
    os.chmod(path, mode)
