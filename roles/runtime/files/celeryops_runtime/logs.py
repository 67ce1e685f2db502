# SPDX-License-Identifier: GPL-3.0-or-later
"""Each line of the log carries the task's name and id; in the journal they are fields as well.

Celery's own handlers are replaced where Celery set them up itself. An app that configures logging on its own
(``setup_logging``, handlers on the root logger, ``--logfile``) keeps what it has.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import _state, signals
from celery.utils.log import ColorFormatter

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


class JournalHandler(logging.Handler):
    """Writes to the journal, and to standard error what the journal does not take."""

    def __init__(self, target: journal.Journal, identifier: str, node: str) -> None:
        super().__init__()
        self.setFormatter(TaskFormatter())
        self._journal = target
        self._common = {"SYSLOG_IDENTIFIER": identifier, "CELERY_NODE": node}

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        """The entry's fields; the message holds an exception's whole stack trace."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
            **self._common,
        }
        if task := task_of(record):
            fields.update(CELERY_TASK_NAME=task.name, CELERY_TASK_ID=task.id)
        return fields

    def emit(self, record: logging.LogRecord) -> None:
        """Write one entry."""
        try:
            fields = self.fields(record)
            try:
                self._journal.send(fields)
            except OSError:
                # Not sys.stderr: Celery redirects that to the log, which is this handler.
                print(f"<{fields['PRIORITY']}>{fields['MESSAGE']}", file=sys.__stderr__, flush=True)
        except Exception:
            self.handleError(record)


def _plain_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(TaskFormatter("[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"))
    return handler


def identifier() -> str:
    """The unit's name, as the journal shows it in front of a line."""
    try:
        return journal.unit_name(Path("/proc/self/cgroup").read_text(encoding="utf-8")) or "celery"
    except OSError:
        return "celery"


def make_handler(environ: Mapping[str, str], node: str) -> logging.Handler:
    """The journal under systemd, standard error elsewhere."""
    if journal.is_stream(environ.get("JOURNAL_STREAM", ""), 2):
        try:
            return JournalHandler(journal.Journal(), identifier(), node)
        except OSError:
            pass
    return _plain_handler()


def _is_celerys(handler: logging.Handler) -> bool:
    # Celery's own, and no subclass that an application brings.
    is_plain = type(handler) is logging.StreamHandler  # pylint: disable=unidiomatic-typecheck
    return is_plain and isinstance(handler.formatter, ColorFormatter)


def replace_handlers(logger: logging.Logger, handler: logging.Handler) -> None:
    """Use this handler in the place of those that Celery set up."""
    kept = [other for other in logger.handlers if not _is_celerys(other) and other is not handler]
    if len(kept) < len(logger.handlers):
        logger.handlers = [*kept, handler]


def connect(node: str) -> None:
    """Listen to Celery, which sets logging up once, before it forks.

    :param node: the name of this service where it is no worker; a worker's own node name is used once it is known.
    """
    state: dict[str, Any] = {"node": node}

    def name(sender: str, **_: Any) -> None:
        state["node"] = sender

    def replace(logger: logging.Logger, **_: Any) -> None:
        handler = state.setdefault("handler", None) or make_handler(os.environ, state["node"])
        state["handler"] = handler
        replace_handlers(logger, handler)

    signals.celeryd_init.connect(harmless(name), weak=False)
    signals.after_setup_logger.connect(harmless(replace), weak=False)
    signals.after_setup_task_logger.connect(harmless(replace), weak=False)
