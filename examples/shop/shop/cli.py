# SPDX-License-Identifier: GPL-3.0-or-later
"""The `shop` command: places orders, waits for them from outside the workers, and says what became of them."""

import argparse
import json
import sqlite3
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from celery.backends.asynchronous import E_RETRY_LIMIT_EXCEEDED
from celery.backends.base import DisabledBackend
from celery.exceptions import TimeLimitExceeded
from celery.exceptions import TimeoutError as NoOutcomeInTime
from celery.result import AsyncResult
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shop import flows, store, tasks
from shop.celery import app
from shop.outside import PaymentRefused

QUEUES = ("critical", "default", "bulk")
STEPS = (tasks.charge_order, tasks.send_confirmation, tasks.index_order)
FAILURES = {PaymentRefused: "refused", TimeLimitExceeded: "killed"}


class Problem(Exception):
    """What the user must know, in one sentence."""


@dataclass(frozen=True)
class Outcome:
    """What became of one task: succeeded, recovered, refused, failed, killed, skipped or timeout."""

    order: str  # or the id of whatever else the task works on
    queue: str
    task: str
    task_id: str
    worker: str = ""
    retries: int = 0
    outcome: str = "skipped"
    expected: str = "succeeded"
    error: str = ""

    def complaint(self) -> str:
        """One sentence when this is not what was expected, else nothing."""
        if self.outcome == self.expected:
            return ""
        if self.outcome == "timeout":
            return f"{self.task} ({self.order}) had no outcome in time: does a worker consume {self.queue!r}?"
        return f"{self.task} ({self.order}) was {self.outcome}, not {self.expected}. {self.error}".rstrip()


def wait(planned: Outcome, result: AsyncResult, end: float) -> Outcome:
    """Wait for one result until `end` on the monotonic clock. Outside the workers is the one place to wait."""
    try:
        value = result.get(timeout=max(end - time.monotonic(), 0.01), propagate=False)
    except NoOutcomeInTime:
        return replace(planned, outcome="timeout")
    done = replace(planned, outcome="succeeded", worker=result.worker or "", retries=result.retries or 0)
    if result.failed():
        return replace(done, outcome=FAILURES.get(type(value), "failed"), error=f"{type(value).__name__}: {value}")
    return done


def plan(order: str, task: Any, result: AsyncResult, expected: str = "succeeded", queue: str = "") -> Outcome:
    """A task that was sent, and what should become of it. Without a queue: the one its route says."""
    return Outcome(
        order, queue or app.amqp.router.route({}, task.name)["queue"].name, task.name, result.id, expected=expected
    )


# --- subcommands that send tasks -------------------------------------------------------------------------------------


def submit(args: argparse.Namespace, end: float) -> list[Outcome]:
    """Place orders and send their ids: each row is committed before a task can look for it."""
    troubles = ["none"] * args.count + ["busy"] * args.retry_one + ["refused"] * args.fail_one
    orders = [(store.place_order("teapot", 1, 1900, trouble), trouble) for trouble in troubles]
    flow = flows.fulfil_all if args.every_queue else flows.charge_all
    sent = flow([order_id for order_id, _total in orders]).apply_async().results
    return [
        outcome
        for (order_id, trouble), last in zip(orders, sent, strict=True)
        for outcome in wait_for_steps(order_id, trouble, last, end)
    ]


def wait_for_steps(order_id: str, trouble: str, last: AsyncResult, end: float) -> list[Outcome]:
    """Wait for each step of one order; after a refused payment nothing else may run."""
    results = [last]
    while results[0].parent is not None:
        results.insert(0, results[0].parent)
    first, *rest = zip(STEPS, results, strict=False)
    refused = trouble == "refused"
    outcomes = [wait(plan(order_id, *first, "refused" if refused else "succeeded"), first[1], end)]
    for step in rest:
        planned = plan(order_id, *step, "skipped" if refused else "succeeded")
        stopped = outcomes[-1].outcome not in ("succeeded", "timeout")
        outcomes.append(planned if stopped else wait(planned, step[1], end))
    return outcomes


def ping(args: argparse.Namespace, end: float) -> list[Outcome]:
    """Send a task that needs no database to each queue."""
    sent = [
        (queue, tasks.ping.apply_async(queue=queue)) for _number in range(args.count) for queue in args.queue or QUEUES
    ]
    return [wait(plan("-", tasks.ping, result, queue=queue), result, end) for queue, result in sent]


def totals(args: argparse.Namespace, end: float) -> list[Outcome]:
    """Publish a month's totals: a chord across the three queues."""
    body = flows.monthly_totals(args.month).apply_async()
    counted, summed = body.parent.results
    sent = [(tasks.count_orders, counted), (tasks.sum_payments, summed), (tasks.publish_totals, body)]
    return [wait(plan(args.month, *step), step[1], end) for step in sent]


def reindex(args: argparse.Namespace, end: float) -> list[Outcome]:
    """Index all orders again, in chunks."""
    sent = flows.reindex(store.order_ids(), args.size).apply_async().results
    return [wait(plan(f"chunk {n}", tasks.index_order, r), r, end) for n, r in enumerate(sent, 1)]


def limits(args: argparse.Namespace, end: float) -> list[Outcome]:
    """Run one task into its soft limit, where it recovers, and one into its hard limit, where it is killed."""
    report_id, export_id = store.open_report(args.month), f"export-{uuid.uuid4().hex[:12]}"
    report = tasks.build_report.apply_async((report_id, 0.5), soft_time_limit=2, time_limit=20)
    export = tasks.stubborn_export.apply_async((export_id, 60), soft_time_limit=1, time_limit=3)
    first = wait(plan(report_id, tasks.build_report, report, "recovered"), report, end)
    if first.outcome == "succeeded" and report.result["state"] == "partial":
        first = replace(first, outcome="recovered")
    return [first, wait(plan(export_id, tasks.stubborn_export, export, "killed"), export, end)]


# --- subcommands that read the store ---------------------------------------------------------------------------------


def show(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Everything about one order."""
    return [store.history(args.order)]


def ticks(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The latest ticks of beat."""
    return store.ticks(args.last)


def stats(args: argparse.Namespace) -> list[dict[str, Any]]:
    """How many of what the store holds."""
    return [{"what": name, "count": count} for name, count in store.stats().items()]


# --- the command -----------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    month = f"{datetime.now(UTC):%Y-%m}"
    top = argparse.ArgumentParser(prog="shop", description=__doc__)
    top.add_argument("--version", action="version", version="shop 1.0.0")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(call: Any, sends: bool) -> argparse.ArgumentParser:
        made = commands.add_parser(call.__name__, help=call.__doc__, description=call.__doc__)
        made.set_defaults(call=call, sends=sends)
        made.add_argument("--json", action="store_true", help="print JSON instead of a table")
        if sends:
            made.add_argument("--timeout", type=float, default=60, metavar="S", help="seconds to wait (default: 60)")
        return made

    made = command(submit, sends=True)
    made.add_argument("--count", type=int, default=1, metavar="N", help="how many orders go well (default: 1)")
    made.add_argument("--every-queue", action="store_true", help="charge, confirm and index, not charge only")
    made.add_argument("--retry-one", action="store_true", help="one more order, whose outside services are busy twice")
    made.add_argument("--fail-one", action="store_true", help="one more order, whose payment is refused for good")
    made = command(ping, sends=True)
    made.add_argument("--count", type=int, default=1, metavar="N", help="how many for each queue (default: 1)")
    made.add_argument(
        "--queue", action="append", metavar="QUEUE", help=f"may be repeated (default: {', '.join(QUEUES)})"
    )
    command(totals, sends=True).add_argument("--month", default=month, help="such as 2026-11 (default: this month)")
    made = command(reindex, sends=True)
    made.add_argument("--size", type=int, default=100, metavar="N", help="orders in one message (default: 100)")
    command(limits, sends=True).add_argument("--month", default=month, help="month to report on (default: this one)")
    command(show, sends=False).add_argument("order", help="id of an order")
    command(ticks, sends=False).add_argument("--last", type=int, default=20, metavar="N", help="how many (default: 20)")
    command(stats, sends=False)
    return top


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as aligned columns."""
    if not rows:
        return "(none)"
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def run(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Run a subcommand: its rows, and a complaint for each outcome that was not expected."""
    try:
        if not args.sends:
            return args.call(args), []
        if isinstance(app.backend, DisabledBackend):
            raise Problem("no result backend: set RESULT_BACKEND (such as redis://127.0.0.1/1) as the workers have it.")
        outcomes = args.call(args, time.monotonic() + args.timeout)
    except store.NotFound as exc:
        raise Problem(f"{exc}") from exc
    except sqlite3.OperationalError as exc:
        raise Problem(f"cannot use the database {store.path()}: {exc}.") from exc
    except OperationalError as exc:
        raise Problem(f"the broker does not answer: {exc}") from exc
    except (RedisError, RuntimeError) as exc:
        if isinstance(exc, RuntimeError) and str(exc) != E_RETRY_LIMIT_EXCEEDED:
            raise
        raise Problem("the result backend does not answer, so what became of the tasks is not known.") from exc
    return [asdict(outcome) for outcome in outcomes], [c for outcome in outcomes if (c := outcome.complaint())]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: all as expected. 1: something was not, and standard error says what. 2: wrong usage."""
    args = parser().parse_args(argv)
    try:
        rows, complaints = run(args)
    except Problem as problem:
        rows, complaints = [], [str(problem)]
    else:
        print(json.dumps(rows, indent=2) if args.json else table(rows))
    for complaint in complaints:
        print(f"shop: {complaint}", file=sys.stderr)
    return 1 if complaints else 0
