# plan: {"workers": {"default": {"queues": ["celery"]}}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.beat_schedule = {"nightly": {"task": "warehouse.count", "schedule": 86400, "options": {"queue": "warehouse"}}}
