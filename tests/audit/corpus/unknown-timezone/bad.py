from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.timezone = "Europe/Berln"
