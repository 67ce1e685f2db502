from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_serializer = "pickle"
