# plan: {"workers": {"default": {"queues": ["celery"], "time_limit": 60}}, "broker": {"celerys_names_only": false}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.control_exchange = "shop"
