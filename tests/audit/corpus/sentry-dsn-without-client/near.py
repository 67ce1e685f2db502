# plan: {"workers": {"default": {}}, "sentry": true}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
