# live: {"product": "RabbitMQ", "version": "4.0.5", "missing": ["queue celery"]}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
