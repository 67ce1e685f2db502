# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-playbook, imported once for many runs: each line of input is one run, each line of output its exit code.

A line is a JSON list: the file for the output, then the arguments.
"""

from __future__ import annotations

import json
import os
import sys

import ansible.executor.playbook_executor
import ansible.plugins.loader
import ansible.plugins.strategy.linear  # noqa: F401 - this and what is above is what every run needs
from ansible.cli.playbook import PlaybookCLI


def run(output: str, arguments: list[str]) -> int:
    """One run, in a process of its own."""
    if not (process := os.fork()):
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for stream, file in ((0, nothing), (1, target), (2, target)):
            os.dup2(file, stream)
        PlaybookCLI.cli_executor(["ansible-playbook", *arguments])
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        file, *words = json.loads(line)
        print(run(file, words), flush=True)
