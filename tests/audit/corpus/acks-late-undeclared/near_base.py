from celery import Celery, Task

app = Celery("shop", broker="amqp://shop@localhost")


class Reliable(Task):
    acks_late = True
    idempotent = True


@app.task(base=Reliable)
def charge(order_id):
    return order_id
