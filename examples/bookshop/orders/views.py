# SPDX-License-Identifier: GPL-3.0-or-later
"""What customers see."""

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_POST

from orders.models import Book, Order
from orders.tasks import confirm


@require_POST
@transaction.atomic
def place_order(request: HttpRequest) -> JsonResponse:
    """Store the order, and send its task once it is stored: a worker would not find it any earlier."""
    order = Order.objects.create(book=get_object_or_404(Book, title=request.POST.get("title")))
    confirm.delay_on_commit(order.pk)
    return JsonResponse({"order": order.pk}, status=202)


@require_GET
def show_order(request: HttpRequest, order_id: int) -> JsonResponse:
    """What became of it."""
    order = get_object_or_404(Order, pk=order_id)
    return JsonResponse({"order": order.pk, "confirmed": order.confirmed_at is not None})
