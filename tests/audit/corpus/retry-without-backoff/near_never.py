from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(autoretry_for=(OSError,), max_retries=0)
def charge(order_id):
    return order_id
