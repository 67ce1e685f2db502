from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.result_expires = None
