from django.db import transaction

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task
def charge(order_id):
    return order_id


def place(order):
    with transaction.atomic():
        order.save()
        charge.delay(order.pk)
