# SPDX-License-Identifier: GPL-3.0-or-later
"""What the shop keeps."""

from django.db import models


class Book(models.Model):
    """A title, and how many copies of it are there."""

    title = models.CharField(max_length=200, unique=True)
    copies = models.PositiveIntegerField(default=0)


class Order(models.Model):
    """One copy for one customer."""

    book = models.ForeignKey(Book, on_delete=models.PROTECT)
    placed_at = models.DateTimeField(auto_now_add=True)
    confirmed_at = models.DateTimeField(null=True)
