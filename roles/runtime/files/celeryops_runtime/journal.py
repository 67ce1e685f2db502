# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd journal's native protocol: one datagram an entry, with fields of its own."""

import array
import errno
import fcntl
import os
import socket
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_BUFFER = 8 * 1024 * 1024


def serialize(fields: Mapping[str, str]) -> bytes:
    """The entry as the journal takes it: ``NAME=value`` lines, or name, length and bytes for several lines."""
    parts: list[bytes] = []
    for name, text in fields.items():
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            parts += [name.encode(), b"\n", len(value).to_bytes(8, "little"), value, b"\n"]
        else:
            parts += [name.encode(), b"=", value, b"\n"]
    return b"".join(parts)


def is_stream(stream: str, fd: int) -> bool:
    """Whether this file descriptor is the one that systemd connected to the journal (``$JOURNAL_STREAM``)."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def unit_name(cgroup: str) -> str | None:
    """The unit that a ``/proc/self/cgroup`` belongs to, without its suffix."""
    for line in cgroup.splitlines():
        for part in reversed(line.rpartition(":")[2].split("/")):
            if part.endswith((".service", ".scope")):
                return part.rpartition(".")[0]
    return None


class Journal:
    """Sends entries. Shared with forked children: each entry is one system call."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    def send(self, fields: Mapping[str, str]) -> None:
        """Write one entry; raises OSError when the journal does not take it."""
        entry = serialize(fields)
        try:
            self._socket.sendto(entry, self._address)
        except OSError as error:
            if not _too_large(error):
                raise
            self._send_file(entry)

    def _send_file(self, entry: bytes) -> None:
        """Too large for a datagram: send a sealed file in memory instead."""
        fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(entry)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
            self._socket.sendmsg([b""], [rights], 0, self._address)
        finally:
            os.close(fd)


def _too_large(error: OSError) -> bool:
    return error.errno in (errno.EMSGSIZE, errno.ENOBUFS)
