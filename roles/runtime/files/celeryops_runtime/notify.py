# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's side of systemd's notification protocol (sd_notify), for the main process only."""

import os
import socket
from collections.abc import MutableMapping

#: A full queue at the other end must not stop the worker for longer than this, in seconds.
_TIMEOUT = 1.0


class Notifier:
    """Takes the protocol's variables out of the environment, so that no child process inherits them."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        usec = environ.pop("WATCHDOG_USEC", "")
        watchdog_pid = environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._pid = os.getpid()
        ours = watchdog_pid in ("", str(self._pid))
        #: Seconds after which systemd takes silence for a hang; None when it does not watch.
        self.watchdog = int(usec) / 1e6 if usec.isdigit() and int(usec) and ours else None

    def send(self, *fields: str) -> bool:
        """Send these fields in one message; False when nobody listens. Never raises."""
        if not self._address or os.getpid() != self._pid:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(_TIMEOUT)
                sock.sendto("\n".join(fields).encode(), self._address)
        except OSError:
            return False
        return True
