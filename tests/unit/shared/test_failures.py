# SPDX-License-Identifier: GPL-3.0-or-later
"""A failure is one sentence, and what was printed stands beside it once."""

from __future__ import annotations

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import failures
from ansible_collections.celeryops.stack.plugins.module_utils.failures import Failure

TRACEBACK = "Traceback (most recent call last):\n  File x\n\nOperationalError: no such table: orders\n"


def test_the_last_lines_hide_passwords() -> None:
    assert failures.last_lines("a\n\nb https://me:secret@host/x\nc\n", 2) == "b https://***@host/x\nc"


def test_a_command_is_named_with_its_exit_code_and_its_last_word() -> None:
    sentence, output = failures.ended(["python", "manage.py", "a b"], 3, TRACEBACK)
    assert sentence == "python manage.py 'a b' ended with exit code 3: OperationalError: no such table: orders"
    assert output.splitlines() == [line for line in TRACEBACK.splitlines() if line]


def test_a_hint_is_not_what_went_wrong() -> None:
    """As uv prints them."""
    printed = "error: No solution found\n  cause: there is no celery==9\n\nhint: try another index\n"
    assert failures.ended(["uv"], 1, printed)[0] == "uv ended with exit code 1: cause: there is no celery==9"
    assert failures.ended(["uv"], 1, "hint: a\n")[0] == "uv ended with exit code 1: hint: a"


def test_a_command_that_printed_nothing() -> None:
    assert failures.ended(["false"], 1, "\n") == ("false ended with exit code 1: it printed nothing.", "")


def test_a_password_in_a_command_is_not_shown() -> None:
    assert "secret" not in failures.ended(["x", "--index=https://me:secret@host/"], 1, "")[0]


@pytest.mark.parametrize(
    ("output", "beside"),
    [("a\nb", {"output": "a\nb"}), ("a", {}), ("", {})],
)
def test_what_the_sentence_says_already_is_not_repeated(output: str, beside: dict[str, str]) -> None:
    assert Failure("x: a", output).result() == {"msg": "x: a", **beside}
    assert Failure("x: a", output).result("release")["msg"] == "release: x: a"
