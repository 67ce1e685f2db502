from celery import Celery
from kombu import Queue

app = Celery("shop", broker="redis://localhost")
app.conf.task_queues = [Queue("celery")]


@app.task(priority=9)
def charge(order_id):
    return order_id
