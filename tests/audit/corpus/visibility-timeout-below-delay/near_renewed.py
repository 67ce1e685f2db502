# plan: {"workers": {"default": {"queues": ["celery"], "soft_time_limit": 3000, "time_limit": 7200, "timeout_stop": 7230}}, "broker": {"visibility_renewed": true}}
from celery import Celery

app = Celery("shop", broker="redis://localhost")


@app.task
def charge(order_id):
    return order_id


def remind(order_id):
    charge.apply_async((order_id,), countdown=24 * 60 * 60)
