# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-playbook for many runs, which loads once what all of them need.

Each line of input is one run, each line of output its exit code. A line of input is a JSON list: the file for the
output, then the arguments.
"""

from __future__ import annotations

import json
import os
import sys

import ansible.executor.playbook_executor  # noqa: F401 - every run needs it
from ansible.cli.playbook import PlaybookCLI
from ansible.plugins import loader

PREFLIGHT = "celeryops.stack.preflight"


def load() -> None:
    """What every run would look for and import."""
    loader.init_plugin_loader()
    for kind in ("inventory", "strategy", "connection", "shell", "become", "callback", "filter", "test"):
        list(getattr(loader, f"{kind}_loader").all(class_only=True))
    loader.action_loader.get(PREFLIGHT, class_only=True)


def run(output: str, arguments: list[str]) -> int:
    """One run, in a process of its own."""
    if not (process := os.fork()):
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for stream, file in ((0, nothing), (1, target), (2, target)):
            os.dup2(file, stream)
        code = 1
        try:
            PlaybookCLI.cli_executor(["ansible-playbook", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # a regular exit would also remove the modules that were packed for the hosts
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    load()
    for line in sys.stdin:
        file, *words = json.loads(line)
        print(run(file, words), flush=True)
