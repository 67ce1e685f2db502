# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for secrets where others than their readers could find them. Runs on a host, as root."""

import contextlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST = 20 * 1024 * 1024


def processes() -> Iterator[tuple[str, bytes]]:
    """Command line and first environment of every process; an operator's own commands (celery-run) left out."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if "/run-" in (process / "cgroup").read_text():
                continue
            name = (process / "comm").read_text().strip()
            for part in ("cmdline", "environ"):
                yield f"{part} of {name} ({process.name})", (process / part).read_bytes()


def readable_files(root: str) -> Iterator[tuple[str, bytes]]:
    """Every file below that any user can read."""
    for folder, below, names in os.walk(root):
        if not os.stat(folder).st_mode & stat.S_IXOTH:
            below.clear()
            continue
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IROTH and status.st_size <= LARGEST:
                    yield path, Path(path).read_bytes()


def said(*command: str) -> Iterator[tuple[str, bytes]]:
    """What a program prints, in pieces of whole lines."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdout
        while lines := program.stdout.readlines(1 << 20):
            yield " ".join(command[:2]), b"".join(lines)


def main(data: Any) -> list[str]:
    """Where which secret was found, never the secret itself."""
    secrets = {name: value.encode() for name, value in data["secrets"].items()}
    units = data["units"]
    sources = [
        processes(),
        said("systemctl", "show", *units),
        said("journalctl", "--boot", "--output=export", *(f"--unit={unit}" for unit in units)),
        *(readable_files(root) for root in data["roots"]),
    ]
    found = [
        f"{name} in {place}"
        for source in sources
        for place, text in source
        for name, secret in secrets.items()
        if secret in text
    ]
    return sorted(set(found))
