from celery import shared_task

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
other = Celery("warehouse", broker="amqp://shop@localhost")


@shared_task(name="shop.charge")
def charge(order_id):  # registered with both applications, once each
    return order_id


@app.task(name="shop.charge_account")
def charge_account(order_id):
    return order_id


@other.task(name="shop.charge_account", shared=False)
def charge_other_account(order_id):
    return order_id
