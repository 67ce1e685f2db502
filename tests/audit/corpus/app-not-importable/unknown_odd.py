from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.beat_schedule = {"sweep": ["shop.sweep", 60]}  # it is loaded; what this is nobody foresaw
