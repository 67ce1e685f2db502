# plan: {"workers": {"default": {}}, "nodes": ["default-1@one", "default-1@two"]}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
