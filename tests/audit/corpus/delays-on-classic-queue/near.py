# live: {"product": "RabbitMQ", "version": "3.10.8"}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(autoretry_for=(OSError,), retry_backoff=True)
def charge(order_id):
    return order_id
