#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at what a host has: system, memory, disks, clock, and who listens where."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Look at what a host has, before anything is put on it
description:
  - Reads only. What follows from it is said by the action M(celeryops.stack.preflight).
  - Needs root to tell which unit listens on a port.
author: celeryops.stack maintainers (@celeryops)
options:
  python:
    description: The Python interpreter whose version is wanted.
    type: path
    default: /usr/bin/python3
attributes:
  check_mode:
    description: Runs in check mode as it does outside of it; it never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Look at the host
  celeryops.stack.host_facts:
  become: true
  register: __preflight_host
"""

RETURN = r"""
system:
  description: The system's ID and version, from os-release.
  type: str
  returned: always
  sample: debian
version:
  description: Its version.
  type: str
  returned: always
  sample: "13"
systemd:
  description: systemd's version; 0 where it does not run.
  type: int
  returned: always
python_path:
  description: The interpreter asked for.
  type: str
  returned: always
python:
  description: Its version, as three numbers; empty where there is none.
  type: list
  elements: int
  returned: always
memory:
  description: Bytes of memory.
  type: int
  returned: always
free:
  description: Bytes that are free on each file system, by where it is mounted.
  type: dict
  returned: always
listening:
  description: Who listens for TCP connections, as port, address and unit.
  type: list
  elements: dict
  returned: always
deployment:
  description: Whose the host is, as its mark says; empty where it is nobody's.
  type: dict
  returned: always
  sample: {"deployment": "shop.celery:app", "host": "server", "inventory": "single"}
clock:
  description: Two numbers of seconds; the host's clock is ahead of the controller's by something between them.
  type: list
  elements: float
  returned: always
"""

import contextlib
import os
import re
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeryops.stack.plugins.module_utils import ownership

LISTEN = "0A"
#: File systems that hold files, and not what a kernel shows or keeps in memory.
DISKS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "nfs", "nfs4", "bcachefs")


def system_of(text: str) -> dict[str, str]:
    """ID and version of the text of os-release."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {"system": pairs.get("ID", "").strip("\"'"), "version": pairs.get("VERSION_ID", "").strip("\"'")}


def memory_of(text: str) -> int:
    """Bytes of memory of the text of /proc/meminfo."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def sockets_of(text: str) -> list[tuple[int, str, str]]:
    """Port, address and inode of what listens, of the text of /proc/net/tcp or tcp6."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != LISTEN:
            continue
        address, port = fields[1].split(":")
        # Words of four bytes, each in the machine's own order.
        words = b"".join(struct.pack("=I", int(address[i : i + 8], 16)) for i in range(0, len(address), 8))
        family = socket.AF_INET if len(words) == 4 else socket.AF_INET6
        shown = socket.inet_ntop(family, words).removeprefix("::ffff:")
        found.append((int(port, 16), shown, fields[9]))
    return found


def unit_of(cgroup: str) -> str:
    """The unit of a process, of the text of its /proc/<pid>/cgroup."""
    paths = [line.split(":", 2)[2] for line in cgroup.splitlines() if line.count(":") >= 2]
    names = [part for path in paths for part in path.split("/") if part.endswith((".service", ".socket", ".scope"))]
    return names[-1] if names else ""


def owners(inodes: set[str], proc: Path = Path("/proc")) -> dict[str, str]:
    """The unit of whoever holds each of these sockets; of systemd's own, several may hold one: a service wins."""
    found: dict[str, str] = {}
    for process in proc.glob("[0-9]*"):
        # Processes come and go meanwhile, and so do their connections.
        with contextlib.suppress(OSError):
            for inode in inodes & sockets(process):
                unit = unit_of((process / "cgroup").read_text())
                if unit.endswith(".service") or inode not in found:
                    found[inode] = unit
    return found


def sockets(process: Path) -> set[str]:
    """The inodes of the sockets that a process has open."""
    found = set()
    for link in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(link)
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def listening() -> list[dict[str, Any]]:
    """Every listener once, but those whose process is not to be found: it has just ended, or is none of this host's."""
    texts = [path.read_text() for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    found = [socket_ for text in texts for socket_ in sockets_of(text)]
    units = owners({inode for *_where, inode in found})
    return [
        {"port": port, "address": address, "unit": units[inode]} for port, address, inode in found if inode in units
    ]


def free() -> dict[str, int]:
    """Bytes free for root on each file system that holds files."""
    found = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, mount, kind, *_options = line.split()
        if kind in DISKS or mount == "/":
            with contextlib.suppress(OSError):
                status = os.statvfs(mount)
                found[mount] = status.f_bfree * status.f_frsize
    return found


def said(*command: str) -> str:
    """What a command prints; nothing where it is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def look(python: str) -> dict[str, Any]:
    """Everything; the clock last, just before the answer goes out."""
    systemd = re.match(r"systemd (\d+)", said("systemctl", "--version") if os.path.isdir("/run/systemd/system") else "")
    version = said(python, "-c", "import sys; print(*sys.version_info[:3])").split()
    return {
        **system_of(Path("/etc/os-release").read_text() if os.path.exists("/etc/os-release") else ""),
        "systemd": int(systemd[1]) if systemd else 0,
        "python_path": python,
        "python": [int(number) for number in version],
        "memory": memory_of(Path("/proc/meminfo").read_text()),
        "free": free(),
        "listening": listening(),
        "deployment": ownership.found(),
        "time": time.time(),
    }


def main() -> None:
    """Answer."""
    module = AnsibleModule(
        argument_spec={"python": {"type": "path", "default": "/usr/bin/python3"}}, supports_check_mode=True
    )
    module.exit_json(changed=False, **look(module.params["python"]))


if __name__ == "__main__":
    main()
