# plan: {"workers": {"default": {}}, "sentry": true}
import sys

sys.modules["sentry_sdk"] = None  # it is not installed

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
