# plan: {"workers": {"default": {"queues": ["celery"], "time_limit": 60, "autoscale": [8, 2]}}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
