from celery import Celery

app = Celery("shop", broker="amqp://guest:not-the-default-one@mq.example.org")
