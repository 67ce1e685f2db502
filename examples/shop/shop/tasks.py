# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks. Each takes ids, reads the rest itself, and may run twice or be killed halfway without harm.

No task waits for another one: what follows what is said in `shop.flows`.
"""

import time
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_task_logger

from shop import outside, store
from shop.base import PatientTask, ReliableTask, exponential_backoff
from shop.celery import app

log = get_task_logger(__name__)


# --- an order: critical, then default, then bulk ---------------------------------------------------------------------


@app.task(
    bind=True,
    base=ReliableTask,
    # Only what gets better by itself. PaymentRefused does not: it fails at once, and a human hears of it.
    autoretry_for=(outside.GatewayBusy,),
    retry_backoff=2,  # 2, 4, 8 ... seconds
    retry_backoff_max=60,
    retry_jitter=True,  # anything between 0 and that
    max_retries=5,
    soft_time_limit=20,
    time_limit=30,
)
def charge_order(self: ReliableTask, order_id: str) -> str:
    """Take the money for an order, once."""
    order = store.order(order_id)
    if order.state == "paid":
        log.info("%s is paid already: nothing to do", order_id)
        return order_id
    try:
        reference = outside.take_payment(order, attempt=self.request.retries + 1)
    except outside.PaymentRefused:
        store.refuse(order)
        raise
    booked = store.record_payment(order, reference)
    log.info("%s: %d cents %s as %s", order_id, order.amount, "booked" if booked else "were booked before", reference)
    return order_id


@app.task(bind=True, base=PatientTask)
def send_confirmation(self: PatientTask, order_id: str) -> str:
    """Tell the customer, retrying by hand: what `autoretry_for` and `retry_backoff` save you from writing."""
    if store.has_mail(order_id):
        log.info("%s is confirmed already: nothing to do", order_id)
        return order_id
    try:
        message_id = outside.send_mail(store.order(order_id), attempt=self.request.retries + 1)
    except outside.MailServerBusy as exc:
        raise self.retry(exc=exc, countdown=exponential_backoff(self)) from exc
    store.record_mail(order_id, message_id)
    return order_id


@app.task(base=ReliableTask)
def index_order(order_id: str) -> str:
    """Make an order findable."""
    order = store.order(order_id)
    store.index(order_id, f"{order.id} {order.item}")
    return order_id


# --- a month's totals: a chord over three queues ---------------------------------------------------------------------


@app.task(base=ReliableTask)
def count_orders(month: str) -> dict[str, int]:
    """The number of orders of a month."""
    return {"orders": store.count_orders(month)}


@app.task(base=ReliableTask)
def sum_payments(month: str) -> dict[str, int]:
    """The payments of a month, in cents."""
    return {"revenue": store.sum_payments(month)}


@app.task(base=ReliableTask)
def publish_totals(parts: list[dict[str, int]], month: str) -> dict[str, int]:
    """Publish what the other two found: runs once both are done."""
    totals = {name: number for part in parts for name, number in part.items()}
    store.publish_month(month, **totals)
    return totals


# --- long work and its limits ----------------------------------------------------------------------------------------


@app.task(base=ReliableTask, soft_time_limit=840, time_limit=900)
def build_report(report_id: str, seconds_per_day: float = 0) -> dict[str, Any]:
    """Write a report day by day. At the soft limit it stops in good order; run again, it goes on where it stopped."""
    month, written = store.report(report_id)
    days = monthrange(*map(int, month.split("-")))[1]
    try:
        for day in range(1, days + 1):
            if day not in written:
                time.sleep(seconds_per_day)  # the work that takes so long
                store.write_page(report_id, month, day)
                written.add(day)
        state = "complete"
    except SoftTimeLimitExceeded:
        log.warning("%s: time is up after %d of %d days; they are kept", report_id, len(written), days)
        state = "partial"
    store.close_report(report_id, state)
    return {"report": report_id, "days": len(store.report(report_id)[1]), "state": state}


@app.task(base=ReliableTask, soft_time_limit=840, time_limit=900)
def stubborn_export(export_id: str, seconds: float) -> str:
    """How not to do it: this task ignores the soft limit, so the hard limit kills its process. Proves that limit."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except SoftTimeLimitExceeded:
            log.warning("%s: soft limit ignored", export_id)
    store.record_export(export_id)
    return export_id


# --- housekeeping ----------------------------------------------------------------------------------------------------


@app.task(bind=True, base=ReliableTask)
def tick(self: ReliableTask) -> None:
    """Beat's heartbeat, recorded once."""
    store.record_tick(self.request.id, self.request.hostname)


@app.task(base=ReliableTask)
def clean_up(days: int = 30) -> int:
    """Forget old ticks."""
    return store.forget_ticks(before=(datetime.now(UTC) - timedelta(days=days)).isoformat())


@app.task(bind=True, base=ReliableTask)
def ping(self: ReliableTask) -> str:
    """Answer from whichever queue it was sent to; needs no database."""
    return str(self.request.hostname)
