# SPDX-License-Identifier: GPL-3.0-or-later
"""Each line of the log carries its priority and the task's name and id: in the journal as fields, whoever formats it.

Celery's own handlers are replaced where Celery set them up itself, so that the lines' text names the task, too. An app
that configures logging on its own (Django's ``LOGGING``, ``worker_hijack_root_logger = False``, ``setup_logging``,
loggers that do not propagate) keeps its handlers and formats. What any of them writes to standard output or error
becomes an entry of the journal with the same fields.
"""

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from celery import _state, signals
from celery.utils.log import ColorFormatter, LoggingProxy

from celeryops_runtime import journal
from celeryops_runtime.guard import harmless

#: syslog's priorities.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
#: How Celery names a task where it says it in the text only: discarded as revoked, over its time limit.
_NAMED = re.compile(r"(?P<name>[\w.]+)\[(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\]")


@dataclass(frozen=True)
class TaskName:
    """The task a line belongs to, and whether the line's own text says so already."""

    name: str
    id: str
    in_text: bool = False


def task_of(record: logging.LogRecord) -> TaskName | None:
    """The task that this line speaks of (Celery's own lines) or was written in."""
    data = getattr(record, "data", None)
    if isinstance(data, Mapping) and data.get("id") and data.get("name"):
        return TaskName(str(data["name"]), str(data["id"]), in_text=True)
    if record.name.startswith("celery.worker") and (found := _NAMED.search(record.getMessage())):
        return TaskName(found["name"], found["id"], in_text=True)
    task = _state.get_current_task()
    if task and task.request and task.request.id:
        return TaskName(str(task.name), str(task.request.id))
    return None


def priority(level: int) -> int:
    """syslog's priority for a level of Python's."""
    return next((value for minimum, value in _PRIORITIES if level >= minimum), _DEBUG)


class TaskFormatter(logging.Formatter):
    """``shop.tasks.charge[<id>]: text`` inside a task, the text alone elsewhere; then the stack trace."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without its stack trace."""
        task = task_of(record)
        if task and not task.in_text:
            record.message = f"{task.name}[{task.id}]: {record.message}"
        return super().formatMessage(record)


class Lines:
    """Writes lines into the journal, each with the fields of its record; to standard error what that does not take."""

    def __init__(self, target: journal.Journal, identifier: str, node: str) -> None:
        self.node = node
        self._journal = target
        self._identifier = identifier

    def fields(self, record: logging.LogRecord, text: str) -> dict[str, str]:
        """The entry's fields; the text holds an exception's whole stack trace."""
        fields = {
            "MESSAGE": text,
            "PRIORITY": str(priority(record.levelno)),
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
            "SYSLOG_IDENTIFIER": self._identifier,
            "CELERY_NODE": self.node,
        }
        if task := task_of(record):
            fields.update(CELERY_TASK_NAME=task.name, CELERY_TASK_ID=task.id)
        return fields

    def write(self, handler: logging.Handler, record: logging.LogRecord) -> None:
        """Write one entry, with the text that this handler makes of the record."""
        try:
            fields = self.fields(record, handler.format(record))
            try:
                self._journal.send(fields)
            except OSError:
                # Not sys.stderr: Celery redirects that to the log, which comes here.
                print(f"<{fields['PRIORITY']}>{fields['MESSAGE']}", file=sys.__stderr__, flush=True)
        except Exception:
            handler.handleError(record)


def _leads_to(stream: Any, journal_stream: str) -> bool:
    if isinstance(stream, LoggingProxy):  # what Celery puts in the place of standard output and error
        return True
    try:
        return journal.is_stream(journal_stream, stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False


def emitting(
    lines: Lines, journal_stream: str, plain: Callable[[Any, logging.LogRecord], None]
) -> Callable[[Any, logging.LogRecord], None]:
    """What handlers of streams do with a record: in front of the journal write an entry, else what they did."""

    @wraps(plain)
    def emit(handler: Any, record: logging.LogRecord) -> None:
        if _leads_to(handler.stream, journal_stream):
            lines.write(handler, record)
        else:
            plain(handler, record)

    return emit


def _handler(form: str) -> logging.Handler:
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(TaskFormatter(form))
    return handler


def identifier() -> str:
    """The unit's name, as the journal shows it in front of a line."""
    try:
        return journal.unit_name(Path("/proc/self/cgroup").read_text(encoding="utf-8")) or "celery"
    except OSError:
        return "celery"


def reach_journal(environ: Mapping[str, str], node: str) -> Lines | None:
    """Have whatever is written to standard output and error by way of logging written into systemd's journal.

    For handlers of any logger and format, now and later; None: systemd did not connect this process to its journal.
    """
    stream = environ.get("JOURNAL_STREAM", "")
    if not journal.is_stream(stream, 2):
        return None
    try:
        lines = Lines(journal.Journal(), identifier(), node)
    except OSError:
        return None
    logging.StreamHandler.emit = emitting(lines, stream, logging.StreamHandler.emit)  # type: ignore[method-assign,assignment]
    return lines


def _is_celerys(handler: logging.Handler) -> bool:
    # Celery's own, and no subclass that an application brings.
    is_plain = type(handler) is logging.StreamHandler  # pylint: disable=unidiomatic-typecheck
    return is_plain and isinstance(handler.formatter, ColorFormatter)


def replace_handlers(logger: logging.Logger, handler: logging.Handler) -> None:
    """Use this handler in the place of those that Celery set up."""
    kept = [other for other in logger.handlers if not _is_celerys(other) and other is not handler]
    if len(kept) < len(logger.handlers):
        logger.handlers = [*kept, handler]


def enable() -> None:
    """Undo what ``dictConfig`` and ``fileConfig`` do by default: disable each logger that they do not name.

    Celery's are there when an application configures logging; without them a task that fails leaves no line at all.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in ("celery", "celeryops_runtime", "kombu"):
            logger.disabled = False


def connect(node: str) -> None:
    """Listen to Celery, which sets logging up once, before it forks.

    :param node: the name of this service where it is no worker; a worker's own node name is used once it is known.
    """
    lines = reach_journal(os.environ, node)
    handler = _handler("%(message)s" if lines else "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s")

    def name(sender: str, **_: Any) -> None:
        if lines:
            lines.node = sender

    def replace(logger: logging.Logger, **_: Any) -> None:
        replace_handlers(logger, handler)

    def speak(**_: Any) -> None:
        enable()

    signals.celeryd_init.connect(harmless(name), weak=False)
    signals.after_setup_logger.connect(harmless(replace), weak=False)
    signals.after_setup_task_logger.connect(harmless(replace), weak=False)
    signals.celeryd_after_setup.connect(harmless(speak), weak=False)
    signals.beat_init.connect(harmless(speak), weak=False)
