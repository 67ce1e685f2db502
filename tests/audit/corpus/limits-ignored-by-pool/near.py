# plan: {"workers": {"default": {"queues": ["celery"], "soft_time_limit": 45, "time_limit": 60, "timeout_stop": 90}}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(soft_time_limit=25, time_limit=30)
def charge(order_id):
    return order_id
