from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.beat_scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
