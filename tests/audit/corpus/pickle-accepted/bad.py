from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.accept_content = ["json", "pickle"]
