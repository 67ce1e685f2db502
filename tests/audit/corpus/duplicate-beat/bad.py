# plan: {"workers": {"default": {}}, "beats": 2}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
