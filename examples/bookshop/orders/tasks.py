# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks. Each takes ids, reads the rest itself, and may run twice or be killed halfway without harm."""

from datetime import timedelta

from celery import shared_task
from celery.utils.log import get_task_logger
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from orders.base import ReliableTask
from orders.models import Book, Order

log = get_task_logger(__name__)
#: After that an order's task is missed: the broker was away when the order was placed.
PATIENCE = timedelta(minutes=1)


@shared_task(base=ReliableTask)
def confirm(order_id: int) -> None:
    """Take a copy from the shelf, once: all of it in one transaction, in which the order is locked."""
    with transaction.atomic():
        order = Order.objects.select_for_update().get(pk=order_id)
        if order.confirmed_at:
            log.info("order %d is confirmed already: nothing to do", order_id)
            return
        Book.objects.filter(pk=order.book_id).update(copies=F("copies") - 1)
        order.confirmed_at = timezone.now()
        order.save(update_fields=["confirmed_at"])
    log.info("order %d is confirmed", order_id)


@shared_task(base=ReliableTask)
def confirm_missed() -> int:
    """Send the task of each order that has none, as the web process could not reach the broker."""
    missed = Order.objects.filter(confirmed_at=None, placed_at__lt=timezone.now() - PATIENCE)
    ids = list(missed.values_list("pk", flat=True))
    for order_id in ids:
        confirm.delay(order_id)
    return len(ids)
