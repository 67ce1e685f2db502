# SPDX-License-Identifier: GPL-3.0-or-later
"""The shop's orders in SQLite: every function is one transaction, every effect has a unique key.

All processes of the shop on one machine share the file. A shop on several machines puts its own database server here;
nothing else would change.
"""

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, item TEXT NOT NULL, quantity INTEGER NOT NULL, amount INTEGER NOT NULL,
    trouble TEXT NOT NULL, state TEXT NOT NULL, placed_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payments (order_id TEXT PRIMARY KEY, reference TEXT NOT NULL, amount INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sold (item TEXT PRIMARY KEY, quantity INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mails (order_id TEXT PRIMARY KEY, message_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS search (order_id TEXT PRIMARY KEY, words TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reports (id TEXT PRIMARY KEY, month TEXT NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pages (
    report_id TEXT, day INTEGER, orders INTEGER NOT NULL, PRIMARY KEY (report_id, day));
CREATE TABLE IF NOT EXISTS months (month TEXT PRIMARY KEY, orders INTEGER NOT NULL, revenue INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS exports (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS ticks (task_id TEXT PRIMARY KEY, at TEXT NOT NULL, worker TEXT NOT NULL);
"""
TABLES = ("orders", "payments", "mails", "search", "reports", "pages", "months", "exports", "ticks")


class NotFound(LookupError):
    """An id without a row."""


@dataclass(frozen=True)
class Order:
    """One order; `amount` in cents; `trouble` is what goes wrong on purpose: none, refused or busy."""

    id: str
    item: str
    quantity: int
    amount: int
    trouble: str
    state: str
    placed_at: str


def path() -> Path:
    """Where the database is: SHOP_DATABASE, else the service's state directory, else here."""
    if named := os.environ.get("SHOP_DATABASE"):
        return Path(named)
    return Path(os.environ.get("STATE_DIRECTORY", ".").split(":")[0]) / "shop.sqlite3"


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """All or nothing: an exception, a time limit or a kill -9 inside leaves the database as it was."""
    with closing(sqlite3.connect(path(), timeout=30, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = 1; COMMIT;")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def now() -> str:
    """This moment, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def place_order(item: str, quantity: int, amount: int, trouble: str = "none") -> str:
    """Store a new order and return its id. Send the task after this returned, never inside the transaction."""
    order = Order(f"order-{uuid.uuid4().hex[:12]}", item, quantity, amount, trouble, "placed", now())
    with transaction() as db:
        db.execute(
            "INSERT INTO orders VALUES (:id, :item, :quantity, :amount, :trouble, :state, :placed_at)", asdict(order)
        )
    return order.id


def order(order_id: str) -> Order:
    """The order of this id."""
    with transaction() as db:
        row = db.execute("SELECT * FROM orders WHERE id = ?", [order_id]).fetchone()
    if row is None:
        raise NotFound(f"there is no {order_id} in {path()}: do the shop's command and its workers share one database?")
    return Order(**row)


def order_ids() -> list[str]:
    """The ids of all orders, the oldest first."""
    with transaction() as db:
        return [row["id"] for row in db.execute("SELECT id FROM orders ORDER BY placed_at").fetchall()]


def record_payment(order: Order, reference: str) -> bool:
    """Book a payment: the payment, the goods sold and the order's state, together or not at all. False: was booked."""
    with transaction() as db:
        first = db.execute(
            "INSERT INTO payments VALUES (?, ?, ?) ON CONFLICT DO NOTHING", [order.id, reference, order.amount]
        )
        if first.rowcount:
            _sell(db, order)
            _set_state(db, order, "paid")
    return bool(first.rowcount)


def _sell(db: sqlite3.Connection, order: Order) -> None:
    db.execute(
        "INSERT INTO sold VALUES (?, ?) ON CONFLICT (item) DO UPDATE SET quantity = quantity + excluded.quantity",
        [order.item, order.quantity],
    )


def _set_state(db: sqlite3.Connection, order: Order, state: str) -> None:
    db.execute("UPDATE orders SET state = ? WHERE id = ?", [state, order.id])


def refuse(order: Order) -> None:
    """Remember that the bank refused the payment."""
    with transaction() as db:
        _set_state(db, order, "refused")


def record_mail(order_id: str, message_id: str) -> None:
    """Remember the confirmation, once."""
    with transaction() as db:
        db.execute("INSERT INTO mails VALUES (?, ?) ON CONFLICT DO NOTHING", [order_id, message_id])


def has_mail(order_id: str) -> bool:
    """Was the confirmation sent."""
    with transaction() as db:
        return db.execute("SELECT 1 FROM mails WHERE order_id = ?", [order_id]).fetchone() is not None


def index(order_id: str, words: str) -> None:
    """Put an order into the search index, or renew it there."""
    with transaction() as db:
        db.execute(
            "INSERT INTO search VALUES (?, ?) ON CONFLICT (order_id) DO UPDATE SET words = excluded.words",
            [order_id, words],
        )


def open_report(month: str) -> str:
    """Store an empty report over a month (2026-11) and return its id."""
    report_id = f"report-{uuid.uuid4().hex[:12]}"
    with transaction() as db:
        db.execute("INSERT INTO reports VALUES (?, ?, 'open')", [report_id, month])
    return report_id


def report(report_id: str) -> tuple[str, set[int]]:
    """The month of a report, and the days that are written already."""
    with transaction() as db:
        row = db.execute("SELECT month FROM reports WHERE id = ?", [report_id]).fetchone()
        days = db.execute("SELECT day FROM pages WHERE report_id = ?", [report_id]).fetchall()
    if row is None:
        raise NotFound(
            f"there is no {report_id} in {path()}: do the shop's command and its workers share one database?"
        )
    return row["month"], {found["day"] for found in days}


def write_page(report_id: str, month: str, day: int) -> None:
    """Write one day of a report, once."""
    with transaction() as db:
        db.execute(
            "INSERT INTO pages SELECT ?, ?, count(*) FROM orders WHERE placed_at LIKE ? || '%' ON CONFLICT DO NOTHING",
            [report_id, day, f"{month}-{day:02}"],
        )


def close_report(report_id: str, state: str) -> None:
    """Say how far a report came: complete or partial."""
    with transaction() as db:
        db.execute("UPDATE reports SET state = ? WHERE id = ?", [state, report_id])


def count_orders(month: str) -> int:
    """How many orders were placed in a month."""
    with transaction() as db:
        found = db.execute("SELECT count(*) FROM orders WHERE placed_at LIKE ? || '%'", [month]).fetchone()
    return int(found[0])


def sum_payments(month: str) -> int:
    """How many cents were paid for the orders of a month."""
    with transaction() as db:
        found = db.execute(
            "SELECT coalesce(sum(p.amount), 0) FROM payments p JOIN orders o ON o.id = p.order_id"
            " WHERE o.placed_at LIKE ? || '%'",
            [month],
        ).fetchone()
    return int(found[0])


def publish_month(month: str, orders: int, revenue: int) -> None:
    """Publish a month's totals, or replace them."""
    with transaction() as db:
        db.execute("INSERT OR REPLACE INTO months VALUES (?, ?, ?)", [month, orders, revenue])


def record_export(export_id: str) -> None:
    """Remember a finished export, once."""
    with transaction() as db:
        db.execute("INSERT INTO exports VALUES (?) ON CONFLICT DO NOTHING", [export_id])


def record_tick(task_id: str, worker: str) -> None:
    """Remember a tick of beat, once per message: two beats are seen as two, one message delivered twice as one."""
    with transaction() as db:
        db.execute("INSERT INTO ticks VALUES (?, ?, ?) ON CONFLICT DO NOTHING", [task_id, now(), worker])


def forget_ticks(before: str) -> int:
    """Delete the ticks before a moment; how many there were."""
    with transaction() as db:
        return db.execute("DELETE FROM ticks WHERE at < ?", [before]).rowcount


def ticks(count: int) -> list[dict[str, Any]]:
    """The latest ticks, the newest last."""
    with transaction() as db:
        rows = db.execute("SELECT * FROM ticks ORDER BY at DESC LIMIT ?", [count]).fetchall()
    return [dict(row) for row in reversed(rows)]


def history(order_id: str) -> dict[str, Any]:
    """Everything that is known about an order."""
    found = asdict(order(order_id))
    with transaction() as db:
        for table in ("payments", "mails", "search"):
            rows = db.execute(f"SELECT * FROM {table} WHERE order_id = ?", [order_id]).fetchall()  # noqa: S608
            found[table] = [dict(row) for row in rows]
    return found


def stats() -> dict[str, int]:
    """How many rows each table has, how many orders are in each state, how many goods were sold for how much."""
    with transaction() as db:
        counts = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}  # noqa: S608
        states = db.execute("SELECT state, count(*) FROM orders GROUP BY state ORDER BY state").fetchall()
        counts |= {f"orders {state}": count for state, count in states}
        counts["goods sold"] = db.execute("SELECT coalesce(sum(quantity), 0) FROM sold").fetchone()[0]
        counts["revenue"] = db.execute("SELECT coalesce(sum(amount), 0) FROM payments").fetchone()[0]
    return counts
