from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_acks_late = True


@app.task(idempotent=False, acks_late=False)
def charge(order_id):
    return order_id
