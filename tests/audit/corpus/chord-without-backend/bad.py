# plan: {"workers": {"default": {"queues": ["celery"], "time_limit": 60}}}
from celery import Celery, chord

app = Celery("shop", broker="amqp://shop@localhost")


@app.task
def charge(order_id):
    return order_id


def total(order_ids):
    return chord(charge.s(order_id) for order_id in order_ids)(charge.si(0))
