# plan: {"workers": {"default": {"queues": ["celery"]}}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(soft_time_limit=45)
def charge(order_id):
    return order_id
