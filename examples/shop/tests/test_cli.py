# SPDX-License-Identifier: GPL-3.0-or-later
"""The command, with a real worker in a thread: what it prints, and how it ends."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from celery.backends.asynchronous import E_RETRY_LIMIT_EXCEEDED
from celery.exceptions import TimeLimitExceeded
from celery.exceptions import TimeoutError as NoOutcomeInTime
from kombu.exceptions import OperationalError

from shop import cli, outside, store, tasks
from shop.celery import app


def rows(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    """Run the command, which must succeed, and return its JSON."""
    code = cli.main([*argv, "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    found: list[dict[str, Any]] = json.loads(out)
    return found


def test_submit_through_every_queue(worker: None, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "submit", "--count", "2", "--every-queue", "--fail-one", "--timeout", "20")
    assert [(row["queue"], row["outcome"]) for row in found] == [
        *[("critical", "succeeded"), ("default", "succeeded"), ("bulk", "succeeded")] * 2,
        *[("critical", "refused"), ("default", "skipped"), ("bulk", "skipped")],
    ]
    assert all(row["worker"] for row in found if row["outcome"] != "skipped")
    assert found[-3]["error"].startswith("PaymentRefused: the bank refused 1900 cents")
    shown = rows(capsys, "show", found[0]["order"])[0]
    assert (shown["state"], len(shown["payments"]), len(shown["mails"])) == ("paid", 1, 1)
    stats = {row["what"]: row["count"] for row in rows(capsys, "stats")}
    assert (stats["orders paid"], stats["orders refused"], stats["revenue"]) == (2, 1, 3800)
    assert [row["outcome"] for row in rows(capsys, "reindex", "--size", "2")] == ["succeeded", "succeeded"]


def test_submit_charges_only_unless_told_otherwise(worker: None, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = rows(capsys, "submit")
    assert (found["task"], found["queue"], found["outcome"]) == ("shop.tasks.charge_order", "critical", "succeeded")


def test_ping_and_totals(worker: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["queue"] for row in rows(capsys, "ping")] == ["critical", "default", "bulk"]
    assert [(row["task"], row["queue"], row["outcome"]) for row in rows(capsys, "totals")] == [
        ("shop.tasks.count_orders", "bulk", "succeeded"),
        ("shop.tasks.sum_payments", "critical", "succeeded"),
        ("shop.tasks.publish_totals", "default", "succeeded"),
    ]


def test_an_unexpected_failure_ends_with_code_1(
    worker: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outside, "take_payment", lambda order, attempt: 1 / 0)
    assert cli.main(["submit", "--every-queue"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[1:3] == ["critical", "shop.tasks.charge_order"]
    assert "was failed, not succeeded. ZeroDivisionError: division by zero" in err


def test_no_worker_ends_with_a_clear_sentence(not_eager: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ping", "--queue", "nobody", "--timeout", "0.2"]) == 1
    assert "had no outcome in time: does a worker consume 'nobody'?" in capsys.readouterr().err


class Sent:
    """A result without a worker (eager tasks and threads know no time limits)."""

    id, worker, retries, parent = "id-1", "bulk-1@host", 0, None

    def __init__(self, value: Any) -> None:
        """What became of it."""
        self.result = value

    def get(self, timeout: float, propagate: bool) -> Any:
        """The value, or no outcome."""
        if isinstance(self.result, NoOutcomeInTime):
            raise self.result
        return self.result

    def failed(self) -> bool:
        """Was it an error."""
        return isinstance(self.result, Exception)


@pytest.mark.parametrize(
    ("report", "export", "outcomes"),
    [
        ({"state": "partial"}, TimeLimitExceeded(3), ["recovered", "killed"]),
        ({"state": "complete"}, "export-1", ["succeeded", "succeeded"]),
        (NoOutcomeInTime(), NoOutcomeInTime(), ["timeout", "timeout"]),
    ],
)
def test_limits(
    report: Any, export: Any, outcomes: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tasks.build_report, "apply_async", lambda *args, **options: Sent(report))
    monkeypatch.setattr(tasks.stubborn_export, "apply_async", lambda *args, **options: Sent(export))
    assert cli.main(["limits", "--json"]) == (outcomes != ["recovered", "killed"])
    out, err = capsys.readouterr()
    assert [row["outcome"] for row in json.loads(out)] == outcomes
    assert len(err.splitlines()) == (0 if outcomes[0] == "recovered" else 2)


def test_ticks(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ticks"]) == 0
    assert capsys.readouterr().out == "(none)\n"
    tasks.tick.apply(task_id="tick-1")
    assert [row["task_id"] for row in rows(capsys, "ticks")] == ["tick-1"]


def failing(error: Exception) -> Any:
    """A function that raises."""

    def fail(*args: Any, **options: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OperationalError("refused"), "the broker does not answer: refused"),
        (RuntimeError(E_RETRY_LIMIT_EXCEEDED), "the result backend does not answer"),
        (sqlite3.OperationalError("unable to open"), "cannot use the database .*: unable to open"),
    ],
)
def test_each_problem_is_one_sentence(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tasks.ping, "apply_async", failing(error))
    assert cli.main(["ping"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("shop: ") and len(err.splitlines()) == 1
    assert re.search(sentence, err)


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.ping, "apply_async", failing(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["ping"])


def test_without_a_result_backend(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "DisabledBackend", type(app.backend))
    assert cli.main(["ping"]) == 1
    assert "no result backend: set RESULT_BACKEND" in capsys.readouterr().err


def test_an_unknown_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "order-0"]) == 1
    assert "there is no order-0 in" in capsys.readouterr().err


def test_where_the_database_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_DATABASE")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/celery:/var/lib/other")
    assert store.path() == Path("/var/lib/celery/shop.sqlite3")
    monkeypatch.delenv("STATE_DIRECTORY")
    assert store.path() == Path("shop.sqlite3")
