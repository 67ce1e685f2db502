from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_routes = {"billing.*": {"queue": "billing"}}  # another application's
app.conf.beat_schedule = {"bill": {"task": "billing.tasks.bill", "schedule": 3600.0}}
