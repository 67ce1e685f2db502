# SPDX-License-Identifier: GPL-3.0-or-later
"""The container engine for a script that makes machines with bin/hosts, one after another."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The shell lives until its input ends: no other checkout's run stops the engine before.
PREPARE = """
set -euo pipefail
. bin/lib.sh
{ ensure_controller controller; ensure_engine; for image; do ensure_image "$image"; done; } >&2
echo "${docker[*]}"
read -r || true
"""


@contextmanager
def engine(*images: str) -> Iterator[None]:
    """It answers, has these images, and stays; bin/hosts finds it."""
    command = ["bash", "-c", PREPARE, "bash", *images]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        said = shell.stdout.readline().strip() if shell.stdout else ""
        if not said:
            raise SystemExit("error: no engine, or no image: see above")
        os.environ["DOCKER"] = said
        yield
