from celery import Celery

app = Celery("shop", broker="amqp://guest:guest@127.0.0.1")
