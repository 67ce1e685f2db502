from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(autoretry_for=(OSError,), retry_kwargs={"max_retries": 5}, retry_backoff=True, max_retries=None)
def charge(order_id):
    return order_id
