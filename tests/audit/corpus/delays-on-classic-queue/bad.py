# live: {"product": "RabbitMQ", "version": "4.0.5"}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(autoretry_for=(OSError,), retry_backoff=True)
def charge(order_id):
    return order_id
