from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(serializer="pickle")
def charge(order):
    return order
