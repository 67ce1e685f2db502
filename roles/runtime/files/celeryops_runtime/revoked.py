# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of what was revoked, which all workers of a host share."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

#: Seconds to wait for another worker that is just writing.
PATIENCE = 2.0
_TABLE = """
CREATE TABLE IF NOT EXISTS revoked (
    number INTEGER PRIMARY KEY AUTOINCREMENT, header TEXT, value TEXT, at REAL, UNIQUE (header, value)
)
"""
#: A stamp's header, or nothing for a task, and the value.
Revoked = tuple[str, Any]


class Store:
    """The file, and how much of it this worker has seen."""

    def __init__(self, path: Path, kept: float, most: int) -> None:
        self._path = path
        self._seen = 0
        with self._open() as database:
            database.execute(_TABLE)
            database.execute("DELETE FROM revoked WHERE at < ?", (time.time() - kept,))
            database.execute("DELETE FROM revoked WHERE number <= (SELECT max(number) FROM revoked) - ?", (most,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # Each time anew: SQLite's connections must not be taken along into forked processes.
        try:
            with closing(sqlite3.connect(self._path, timeout=PATIENCE)) as database, database:
                yield database
        except sqlite3.Error as error:
            raise OSError(f"{self._path}: {error}") from error

    def add(self, revoked: Iterable[Revoked]) -> None:
        """Keep these, those that are not kept yet."""
        rows = [(header, json.dumps(value)) for header, value in revoked]
        with self._open() as database:
            known = "SELECT 1 FROM revoked WHERE header = ? AND value = ?"
            if new := [row for row in rows if not database.execute(known, row).fetchone()]:
                now = time.time()
                add = "INSERT OR IGNORE INTO revoked (header, value, at) VALUES (?, ?, ?)"
                database.executemany(add, [(*row, now) for row in new])

    def news(self) -> list[Revoked]:
        """What was added since the last look, whoever did."""
        with self._open() as database:
            find = "SELECT number, header, value FROM revoked WHERE number > ? ORDER BY number"
            rows = database.execute(find, (self._seen,)).fetchall()
        if rows:
            self._seen = rows[-1][0]
        return [(header, json.loads(value)) for _number, header, value in rows]
