# plan: {"workers": {"default": {"time_limit": 60}, "critical": {"time_limit": 60}}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_default_queue = "default"
app.conf.task_routes = {"near.charge": "critical"}


@app.task
def charge(order_id):
    return order_id
