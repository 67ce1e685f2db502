from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task
def charge(order_id):
    return order_id


@app.task
def fulfil(order_id):
    return charge.delay(order_id).get()
