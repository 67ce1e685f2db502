# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts of bench share: commands, and a line for who waits."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class BenchError(Exception):
    """A sentence for the reader."""


def say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def output_of(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise BenchError(f"{' '.join(command)[:200]}: {(done.stdout + done.stderr).strip()[-3000:]}")
    return done.stdout.strip()
