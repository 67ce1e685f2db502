# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the systemd of this host, and tell it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from ansible_collections.celeryops.stack.plugins.module_utils.systemd import PROPERTIES, Seen, parse


class Failed(Exception):
    """One sentence for the person who runs the play."""


class Systemd:
    """The host's systemd."""

    def run(self, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Run systemctl; a time-out looks like a failure."""
        command = ["systemctl", "--no-ask-password", "--no-pager", *arguments]
        environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=timeout, env=environment
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"systemctl took longer than {timeout:.0f} s")
        except FileNotFoundError:
            raise Failed("This host has no systemctl: the collection needs a host that runs systemd.") from None

    def must(self, *arguments: str) -> str:
        """Run systemctl for something that has no reason to fail, and return what it prints."""
        done = self.run(*arguments)
        if done.returncode:
            raise Failed(f"systemctl {' '.join(arguments)} failed: {' '.join(done.stderr.split())}")
        return done.stdout

    def show(self, names: Sequence[str]) -> dict[str, Seen]:
        """Look at units, all in one call."""
        if not names:
            return {}
        return parse(self.must("show", "--property", ",".join(PROPERTIES), "--", *names), names)

    def loaded(self, pattern: str) -> list[str]:
        """Return the names of the units in systemd's memory that match a pattern."""
        return [line.removeprefix("Id=") for line in self.must("show", "--property", "Id", "--", pattern).split()]
