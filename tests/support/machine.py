# SPDX-License-Identifier: GPL-3.0-or-later
"""What machine measures: for docs/tested.json and bench/RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def this_machine() -> str:
    """Its processors and its memory."""
    models = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    memory = re.findall(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    size = f"{int(memory[0]) / 2**20:.0f} GiB of memory"
    return f"{os.cpu_count()} x {models[0] if models else platform.machine()}, {size}"
