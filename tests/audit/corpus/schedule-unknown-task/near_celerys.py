from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.beat_schedule = {"nightly": {"task": "celery.backend_cleanup", "schedule": 86400}}
