from celery import Celery
from kombu import Exchange, Queue

app = Celery("shop", broker="amqp://shop@localhost")
tasks = Exchange("tasks", type="topic")
app.conf.task_queues = [
    Queue("celery", tasks, "celery", queue_arguments={"x-queue-type": "quorum", "x-max-priority": 10})
]
app.conf.task_default_exchange, app.conf.task_default_exchange_type = "tasks", "topic"


@app.task
def charge(order_id):
    return order_id
