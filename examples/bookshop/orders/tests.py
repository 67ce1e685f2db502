# SPDX-License-Identifier: GPL-3.0-or-later
"""What the project promises: `python manage.py test --settings bookshop.testing`."""

from datetime import timedelta
from unittest.mock import patch

from django.db import OperationalError
from django.test import TestCase
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from orders import tasks
from orders.models import Book, Order


class OrdersTest(TestCase):
    """One book, and orders of it."""

    def setUp(self) -> None:
        """Ten copies."""
        self.book = Book.objects.create(title="Dune", copies=10)

    def copies(self) -> int:
        """How many are left."""
        self.book.refresh_from_db()
        return self.book.copies

    def test_an_order_sends_its_task_when_it_is_stored(self) -> None:
        """Not before: the callbacks of the transaction are what sends."""
        with self.captureOnCommitCallbacks() as callbacks:
            answer = self.client.post("/orders/", {"title": "Dune"})
            self.assertEqual((answer.status_code, self.copies()), (202, 10))
        order = answer.json()["order"]
        for callback in callbacks:
            callback()
        self.assertEqual(self.copies(), 9)
        self.assertEqual(self.client.get(f"/orders/{order}/").json(), {"order": order, "confirmed": True})

    def test_what_is_not_there_cannot_be_ordered(self) -> None:
        """And stores nothing."""
        self.assertEqual(self.client.post("/orders/", {"title": "Emma"}).status_code, 404)
        self.assertEqual(Order.objects.count(), 0)

    def test_a_task_that_runs_twice_has_one_effect(self) -> None:
        """As it does after a crash."""
        order = Order.objects.create(book=self.book)
        tasks.confirm.delay(order.pk)
        tasks.confirm.delay(order.pk)
        self.assertEqual(self.copies(), 9)

    def test_a_task_that_is_killed_halfway_leaves_nothing(self) -> None:
        """Both changes are one transaction."""
        order = Order.objects.create(book=self.book)
        with patch.object(Order, "save", side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
            tasks.confirm(order.pk)
        self.assertEqual(self.copies(), 10)

    def test_a_database_that_is_away_for_a_moment_is_asked_again(self) -> None:
        """By autoretry_for."""
        order = Order.objects.create(book=self.book)
        answers = [OperationalError("server closed the connection"), None]
        with patch.object(tasks.log, "info", side_effect=answers) as asked:
            tasks.confirm.delay(order.pk)
        self.assertEqual((asked.call_count, self.copies()), (2, 9))

    def test_a_missed_order_is_sent_later(self) -> None:
        """Its web process had stored it, and found no broker."""
        missed, new = Order.objects.create(book=self.book), Order.objects.create(book=self.book)
        Order.objects.filter(pk=missed.pk).update(placed_at=timezone.now() - tasks.PATIENCE - timedelta(seconds=1))
        self.assertEqual(tasks.confirm_missed.delay().get(), 1)
        missed.refresh_from_db()
        new.refresh_from_db()
        self.assertEqual((bool(missed.confirmed_at), bool(new.confirmed_at)), (True, False))

    def test_the_schedule_names_a_task_that_there_is(self) -> None:
        """It is a row, so nothing else would notice."""
        self.assertEqual(PeriodicTask.objects.get().task, tasks.confirm_missed.name)
