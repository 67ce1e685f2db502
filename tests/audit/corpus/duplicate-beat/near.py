# plan: {"workers": {"default": {}}, "beats": 1}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
