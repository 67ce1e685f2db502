from celery import Celery
from kombu import Queue

app = Celery("shop", broker="redis://localhost")
app.conf.task_queues = [Queue("celery", queue_arguments={"x-max-priority": 10})]


@app.task(priority=9)
def charge(order_id):
    return order_id
