from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task
def charge(order_id):
    return order_id


def command(order_id):  # no task
    return charge.delay(order_id).get(timeout=10)
