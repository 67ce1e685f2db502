from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(autoretry_for=(OSError,), retry_backoff=True, retry_jitter=False)
def charge(order_id):
    return order_id
