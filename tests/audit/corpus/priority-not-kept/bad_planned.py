# plan: {"workers": {"default": {"queues": ["celery"], "time_limit": 60}}, "broker": {"quorum_queues": true}}
from celery import Celery
from kombu import Queue

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_queues = [Queue("celery", queue_arguments={"x-max-priority": 10})]


@app.task
def charge(order_id):
    return order_id
