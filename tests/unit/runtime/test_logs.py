# SPDX-License-Identifier: GPL-3.0-or-later
"""The log's lines, in the journal's native protocol and on standard error."""

import io
import logging
import logging.config
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from celery import _state
from celery.app.log import Logging
from celery.utils.log import ColorFormatter, LoggingProxy
from celeryops_runtime import journal, logs
from hypothesis import given
from hypothesis import strategies as st

from .conftest import Journald, parse


@pytest.fixture
def stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[str]]:
    """A stream that systemd connected to the journal, and handlers that know of it."""
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        target = journal.Journal(str(tmp_path / "journal"))
        lines = logs.Lines(target, "celery-worker-x@1", "x-1@here")
        emit = logs.emitting(lines, f"{status.st_dev}:{status.st_ino}", logging.StreamHandler.emit)
        monkeypatch.setattr(logging.StreamHandler, "emit", emit)
        yield stream
        target._socket.close()


@pytest.fixture
def logger(stderr: IO[str]) -> Iterator[logging.Logger]:
    """Celery's, as ``logs`` leaves it."""
    logger = logging.getLogger("celeryops.test")
    logger.setLevel(logging.DEBUG)
    logger.handlers = [logging.StreamHandler(stderr)]
    logger.handlers[0].setFormatter(logs.TaskFormatter())
    logger.propagate = False
    yield logger
    logger.handlers = []


@pytest.fixture
def task() -> Iterator[None]:
    _state.push_current_task(SimpleNamespace(name="shop.charge", request=SimpleNamespace(id="42")))
    yield
    _state.pop_current_task()


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,9}", fullmatch=True), st.text(st.characters(codec="utf-8"))))
def test_what_is_written_is_what_the_journal_reads(fields: dict[str, str]) -> None:
    assert parse(journal.serialize(fields)) == fields


@pytest.mark.usefixtures("task")
def test_a_line_written_in_a_task_names_it(logger: logging.Logger, journald: Journald) -> None:
    logger.warning("charged %s", 5)
    entry = journald.entry()
    assert entry.pop("CODE_LINE").isdigit()
    assert entry == {
        "MESSAGE": "shop.charge[42]: charged 5",
        "PRIORITY": "4",
        "LOGGER": "celeryops.test",
        "CODE_FILE": __file__,
        "CODE_FUNC": "test_a_line_written_in_a_task_names_it",
        "SYSLOG_IDENTIFIER": "celery-worker-x@1",
        "CELERY_NODE": "x-1@here",
        "CELERY_TASK_NAME": "shop.charge",
        "CELERY_TASK_ID": "42",
    }


def test_celerys_own_lines_have_the_fields_too(logger: logging.Logger, journald: Journald) -> None:
    data = {"name": "shop.charge", "id": "42"}
    logger.info("Task %(name)s[%(id)s] succeeded", data, extra={"data": data})
    entry = journald.entry()
    assert entry["MESSAGE"] == "Task shop.charge[42] succeeded"
    assert (entry["CELERY_TASK_NAME"], entry["CELERY_TASK_ID"]) == ("shop.charge", "42")


@pytest.mark.parametrize(
    "text",
    ["Discarding revoked task: %s[%s]", "Soft time limit (45s) exceeded for %s[%s]", "Hard time limit for %s[%s]!"],
)
def test_what_celery_says_in_the_text_only_is_found_by_the_tasks_id(text: str) -> None:
    task_id = "1a06cacb-0f3c-4d1e-9d54-0123456789ab"
    record = logging.LogRecord("celery.worker.request", logging.INFO, "", 1, text, ("shop.tasks.charge", task_id), None)
    assert logs.task_of(record) == logs.TaskName("shop.tasks.charge", task_id, in_text=True)
    record.name = "shop"
    assert logs.task_of(record) is None, "others may name tasks that they are not about"


def test_outside_a_task_a_line_is_itself(logger: logging.Logger, journald: Journald) -> None:
    logger.info("ready", extra={"data": {"id": None}})
    entry = journald.entry()
    assert entry["MESSAGE"] == "ready"
    assert "CELERY_TASK_ID" not in entry


@pytest.mark.usefixtures("task")
def test_a_stack_trace_is_part_of_its_entry(logger: logging.Logger, journald: Journald) -> None:
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        logger.exception("failed")
    entry = journald.entry()
    assert entry["MESSAGE"].startswith("shop.charge[42]: failed\nTraceback (most recent call last):")
    assert entry["MESSAGE"].endswith("ZeroDivisionError: division by zero")
    assert entry["PRIORITY"] == "3"


def test_a_very_large_entry_arrives_whole(logger: logging.Logger, journald: Journald) -> None:
    text = "x" * 20_000_000
    logger.info(text)
    assert journald.entry()["MESSAGE"] == text


def test_text_that_is_no_unicode_is_kept_readable() -> None:
    assert journal.serialize({"MESSAGE": "name " + chr(0xDCFF)}) == b"MESSAGE=name \\udcff\n"


def test_what_the_journal_does_not_take_goes_to_standard_error(
    logger: logging.Logger,
    journald: Journald,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journald.socket.close()
    with open(2, "w", closefd=False) as stderr:
        monkeypatch.setattr("sys.__stderr__", stderr)
        logger.error("lost?")
        assert capfd.readouterr().err == "<3>lost?\n"


CONSOLE: dict[str, Any] = {"class": "logging.StreamHandler", "formatter": "own"}


@pytest.fixture
def django(stderr: IO[str]) -> Iterator[None]:
    """Django's LOGGING as people write it."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"own": {"format": "{levelname} {message}", "style": "{"}},
            "handlers": {"console": {**CONSOLE, "stream": stderr}},
            "loggers": {"celeryops.test.own": {"handlers": ["console"], "level": "INFO", "propagate": False}},
        }
    )
    yield
    logging.getLogger("celeryops.test.own").handlers = []


@pytest.mark.usefixtures("task", "django")
def test_an_applications_own_handler_keeps_its_format_and_gets_the_fields(stderr: IO[str], journald: Journald) -> None:
    logging.getLogger("celeryops.test.own.orders").error("no money")
    entry = journald.entry()
    assert entry["MESSAGE"] == "ERROR no money"
    assert (entry["PRIORITY"], entry["CELERY_TASK_NAME"], entry["CELERY_TASK_ID"]) == ("3", "shop.charge", "42")
    assert (entry["LOGGER"], entry["CELERY_NODE"]) == ("celeryops.test.own.orders", "x-1@here")
    assert (stderr.flush(), Path(stderr.name).read_text()) == (None, ""), "each line is written once"


@pytest.mark.usefixtures("stderr")
def test_a_handler_of_redirected_output_keeps_the_lines_own_priority(journald: Journald) -> None:
    handler = logging.StreamHandler(LoggingProxy(logging.getLogger("celery.redirected")))
    handler.handle(logging.LogRecord("shop", logging.ERROR, "", 1, "no money", (), None))
    assert journald.entry()["PRIORITY"] == "3"


@pytest.mark.usefixtures("stderr")
@pytest.mark.parametrize("name", ["own.log", None])
def test_a_handler_that_writes_elsewhere_is_left_alone(tmp_path: Path, journald: Journald, name: str | None) -> None:
    memory = io.StringIO()
    handler = logging.FileHandler(tmp_path / name) if name else logging.StreamHandler(memory)
    handler.handle(logging.LogRecord("shop", logging.ERROR, "", 1, "no money", (), None))
    handler.close()
    assert ((tmp_path / name).read_text() if name else memory.getvalue()) == "no money\n"
    journald.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        journald.entry()


def test_forked_children_write_too(logger: logging.Logger, journald: Journald) -> None:
    pid = os.fork()
    if pid == 0:
        logger.info("from the child")
        os._exit(0)
    os.waitpid(pid, 0)
    assert journald.entry()["MESSAGE"] == "from the child"


def test_the_journal_is_used_only_where_systemd_connected_it(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        status = os.fstat(file.fileno())
        assert journal.is_stream(f"{status.st_dev}:{status.st_ino}", file.fileno())
        assert not journal.is_stream("1:2", file.fileno())
        assert not journal.is_stream("", file.fileno())
    assert not journal.is_stream("1:2", 9999)


@pytest.mark.parametrize(
    ("cgroup", "name"),
    [
        ("0::/system.slice/celery-worker-critical@1.service\n", "celery-worker-critical@1"),
        ("1:name=systemd:/docker/ab/system.slice/celery-beat.service\n0::/\n", "celery-beat"),
        ("0::/system.slice/run-u7.service/payload\n", "run-u7"),
        ("0::/\n", None),
    ],
)
def test_the_unit_is_found(cgroup: str, name: str | None) -> None:
    assert journal.unit_name(cgroup) == name


@pytest.mark.parametrize(("level", "priority"), [(50, 2), (40, 3), (30, 4), (20, 6), (10, 7), (35, 4), (1, 7)])
def test_priorities(level: int, priority: int) -> None:
    assert logs.priority(level) == priority


def test_only_celerys_own_handlers_are_replaced(tmp_path: Path) -> None:
    ours, users, celerys = logging.NullHandler(), logging.StreamHandler(), logging.StreamHandler()
    celerys.setFormatter(ColorFormatter())
    logger = logging.Logger("x")
    logger.handlers = [users]
    logs.replace_handlers(logger, ours)
    assert logger.handlers == [users]
    logger.handlers = [users, celerys]
    logs.replace_handlers(logger, ours)
    assert logger.handlers == [users, ours]
    assert Logging._is_configured  # Celery calls again for each logger it sets up
    logs.replace_handlers(logger, ours)
    assert logger.handlers == [users, ours]


def test_what_an_application_disables_without_naming_it_speaks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """``dictConfig`` does so by default with every logger that is there, among them the one that reports failures."""
    ours, theirs = logging.getLogger("celery.app.trace"), logging.getLogger("shop.silenced")
    for each in (ours, theirs):
        monkeypatch.setattr(each, "disabled", True)
    logs.enable()
    assert not ours.disabled
    assert theirs.disabled
