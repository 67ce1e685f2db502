# plan: {"workers": {"default": {"queues": ["celery"], "time_limit": 60, "delivery": "at_most_once"}}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_acks_late = True


@app.task
def charge(order_id):
    return order_id
