from django.db import transaction

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task
def charge(order_id):
    return order_id


@transaction.atomic
def place(order):
    order.save()
    charge.apply_async((order.pk,))
