from celery import Celery
from kombu import Exchange, Queue

app = Celery("shop", broker="amqp://shop@localhost")
tasks = Exchange("tasks", type="topic")
app.conf.task_queues = [Queue("celery", tasks, "celery", queue_arguments={"x-queue-type": "quorum"})]
app.conf.task_default_exchange, app.conf.task_default_exchange_type = "tasks", "topic"
app.conf.task_default_priority = 5


@app.task
def charge(order_id):
    return order_id


def checkout(order_id):
    charge.apply_async([order_id], priority=5)
