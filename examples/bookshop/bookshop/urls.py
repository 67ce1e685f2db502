# SPDX-License-Identifier: GPL-3.0-or-later
"""Which view answers."""

from django.urls import path

from orders import views

urlpatterns = [
    path("orders/", views.place_order),
    path("orders/<int:order_id>/", views.show_order),
]
