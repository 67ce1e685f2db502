from celery import Celery

app = Celery("shop", broker="amqp://mq.example.org")
