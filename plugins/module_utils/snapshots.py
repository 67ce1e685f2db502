# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a service's data while it is in use, and whether there is data at all."""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

#: Redis' list of the files that its data is in.
MANIFEST = "appendonly.aof.manifest"
#: A packing during which Redis put other files in the place of these begins again, so often.
TRIES = 20
_AUX, _END = 0xFA, 0xFF


class Unusable(Exception):
    """One sentence about data that cannot be copied."""


def pack_redis(folder: Path, target: Path) -> None:
    """Pack the append-only files of a Redis that runs, as they are at one moment.

    Redis only ever appends to its last file, and a reply is not sent before what it confirms is in there; a command of
    which only the beginning was copied is left out when the copy is read. When the files are rewritten the list
    changes, and what was packed until then is thrown away.
    """
    manifest = folder / MANIFEST
    for _try in range(TRIES):
        before = manifest.read_bytes() if manifest.exists() else None
        if before is None:
            raise Unusable(
                f"{folder} has no {MANIFEST}: this Redis writes no append-only file, so there is nothing to copy."
            )
        try:
            with tarfile.open(target, "w:gz", compresslevel=1) as archive:
                for name in [MANIFEST, *files_of(before.decode())]:
                    archive.add(folder / name, name)
        except FileNotFoundError:
            continue
        if manifest.exists() and manifest.read_bytes() == before:
            return
    raise Unusable(
        f"Redis put other files into {folder} {TRIES} times while they were copied: try again when it is calm."
    )


def files_of(manifest: str) -> list[str]:
    """The files that a manifest lists: lines like ``file appendonly.aof.1.base.rdb seq 1 type b``."""
    return [line.split()[1] for line in manifest.splitlines() if line.startswith("file ")]


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database that may be written to meanwhile."""
    if not source.exists():
        raise Unusable(f"{source} is not there, so there is nothing to copy.")
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as there,
        closing(sqlite3.connect(target)) as copy,
    ):
        there.backup(copy)


def redis_holds(folder: Path) -> str:
    """What a Redis holds that a restore would replace; empty where it is new."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return ""
    for name in files_of(manifest.read_text()):
        file = folder / name
        if not file.exists():
            continue
        if name.endswith(".rdb"):
            with file.open("rb") as stream:
                if _rdb_has_keys(stream):
                    return f"data in {file}"
        elif file.stat().st_size:
            return f"{file.stat().st_size} bytes in {file}"
    return ""


def _rdb_has_keys(stream: BinaryIO) -> bool:
    """Whether anything but remarks stands between the head and the end of an RDB file."""
    stream.read(9)  # REDIS0011
    while (opcode := stream.read(1)) and opcode[0] == _AUX:
        for _part in range(2):  # a remark's name and text
            _skip_string(stream)
    return bool(opcode) and opcode[0] != _END


def _skip_string(stream: BinaryIO) -> None:
    first = stream.read(1)[0]
    kind, rest = first >> 6, first & 0x3F
    if kind == 3:  # a number of 1, 2 or 4 bytes
        stream.read(1 << rest)
        return
    if kind == 1:
        rest = rest << 8 | stream.read(1)[0]
    elif kind == 2:
        rest = int.from_bytes(stream.read(4), "big")
    stream.read(rest)


def sqlite_holds(database: Path, tables: list[str]) -> str:
    """Which of these tables have rows; empty where none has, or there is no database."""
    if not database.exists():
        return ""
    found = []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in (name for name in tables if name in there):
            (count,) = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608 - our own names
            if count:
                found.append(f"{count} rows in {table} of {database}")
    return ", ".join(found)
