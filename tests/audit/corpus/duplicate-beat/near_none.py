# plan: {"workers": {"default": {}}, "beats": 0}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
