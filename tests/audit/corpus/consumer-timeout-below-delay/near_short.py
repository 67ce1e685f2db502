# plan: {"workers": {"default": {"queues": ["celery"], "soft_time_limit": 45, "time_limit": 60}}, "broker": {"consumer_timeout": 1800000}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(autoretry_for=(OSError,), retry_backoff=60, retry_backoff_max=600, max_retries=10)
def charge(order_id):
    return order_id
