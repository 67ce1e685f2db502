# plan: {"workers": {"default": {"queues": ["celery"], "pool": "threads", "timeout_stop": 60}}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(soft_time_limit=25, time_limit=30)
def charge(order_id):
    return order_id
