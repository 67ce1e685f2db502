# plan: {"workers": {"default": {"queues": ["celery"], "time_limit": 60}}, "broker": {"celerys_names_only": true}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.worker_direct = True
