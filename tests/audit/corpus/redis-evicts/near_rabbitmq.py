# live: {"product": "RabbitMQ", "version": "4.0.5"}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
