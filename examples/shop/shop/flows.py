# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows what, and what runs side by side: Celery's canvas instead of tasks that wait for tasks."""

from collections.abc import Iterable

from celery import chain, chord, group
from celery.canvas import Signature

from shop import tasks


def fulfil(order_id: str) -> Signature:
    """Charge, then confirm, then index: a chain through critical, default and bulk. Each step passes on the id."""
    return chain(tasks.charge_order.s(order_id), tasks.send_confirmation.s(), tasks.index_order.s())


def fulfil_all(order_ids: Iterable[str]) -> Signature:
    """Many orders at once: a group of chains."""
    return group(fulfil(order_id) for order_id in order_ids)


def charge_all(order_ids: Iterable[str]) -> Signature:
    """Only the payments of many orders: a group."""
    return group(tasks.charge_order.s(order_id) for order_id in order_ids)


def reindex(order_ids: Iterable[str], size: int = 100) -> Signature:
    """Index many orders, `size` of them per message: chunks, for work that is small compared with its message."""
    return tasks.index_order.chunks([(order_id,) for order_id in order_ids], size)


def monthly_totals(month: str) -> Signature:
    """Count in bulk and sum in critical side by side, then publish in default: a chord across three queues."""
    return chord([tasks.count_orders.s(month), tasks.sum_payments.s(month)], tasks.publish_totals.s(month))
