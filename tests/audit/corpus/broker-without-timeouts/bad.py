from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
