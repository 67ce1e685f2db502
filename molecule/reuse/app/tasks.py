# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that has never heard of this collection."""

import getpass
from typing import Any

from celery import Celery

app = Celery("legacy", config_source="celeryconfig")


@app.task(bind=True)
def add(self: Any, x: int, y: int) -> dict[str, Any]:
    """Add, and say where."""
    return {"sum": x + y, "node": self.request.hostname, "user": getpass.getuser()}
