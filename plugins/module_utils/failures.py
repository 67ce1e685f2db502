# SPDX-License-Identifier: GPL-3.0-or-later
"""A failure as one sentence, and beside it, once, the end of what was printed.

Ansible shows a failed task's ``msg`` twice, and a roll-out repeats it in its outcome: it must stay short.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

#: So many lines of a tool's output are shown.
LAST_LINES = 30


class Failure(Exception):
    """Something failed; the text is the sentence for the user."""

    def __init__(self, sentence: str, output: str = "") -> None:
        super().__init__(sentence)
        self.output = output

    def result(self, who: str = "") -> dict[str, str]:
        """What a module fails with."""
        said = {"msg": f"{who}: {self}" if who else str(self)}
        return {**said, "output": self.output} if "\n" in self.output else said


def last_lines(output: str, count: int = LAST_LINES) -> str:
    """Return the end of a tool's output, without passwords in URLs."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    return masked("\n".join(lines[-count:]))


def masked(text: str) -> str:
    """A text without passwords in URLs."""
    return re.sub(r"://[^/\s@]+@", "://***@", text)


def ended(command: Sequence[str], code: int, output: str) -> tuple[str, str]:
    """The sentence about a command that did not succeed, and the end of what it printed."""
    shown = last_lines(output)
    last = conclusion(shown) or "it printed nothing."
    return f"{masked(shlex.join(command))} ended with exit code {code}: {last}", shown


def conclusion(output: str) -> str:
    """The last line that says what went wrong: hints come after it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not line.lower().startswith("hint:")), lines[-1] if lines else "")
