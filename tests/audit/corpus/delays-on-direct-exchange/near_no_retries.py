from celery import Celery
from kombu import Exchange, Queue

app = Celery("shop", broker="amqp://shop@localhost")
tasks = Exchange("tasks", type="direct")
app.conf.task_queues = [Queue("celery", tasks, "celery", queue_arguments={"x-queue-type": "quorum"})]
app.conf.task_default_exchange, app.conf.task_default_exchange_type = "tasks", "direct"


@app.task(autoretry_for=(OSError,), max_retries=0)
def charge(order_id):
    return order_id


@app.task(autoretry_for=(OSError,), retry_kwargs={"max_retries": 2, "countdown": 0})
def ship(order_id):
    return order_id
