from celery import group
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task
def charge(order_id):
    return order_id


@app.task
def fulfil(order_ids):
    result = group(charge.s(order_id) for order_id in order_ids)()
    return result.join()
