from celery import Celery

app = Celery("shop", broker="amqp://guest:guest@mq.example.org")
