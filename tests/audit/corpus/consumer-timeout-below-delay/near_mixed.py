# plan: {"workers": {"default": {"queues": ["celery"], "soft_time_limit": 45, "time_limit": 60}}, "broker": {"consumer_timeout": 1800000}}
from celery import Celery
from kombu import Exchange, Queue

app = Celery("shop", broker="amqp://shop@localhost")
tasks = Exchange("tasks", type="topic")
app.conf.task_queues = [Queue("celery", tasks, "celery", queue_arguments={"x-queue-type": "quorum"})]
app.conf.task_queues.append(Queue("mail", Exchange("mail"), "mail"))
app.conf.task_default_exchange, app.conf.task_default_exchange_type = "tasks", "topic"


@app.task(autoretry_for=(OSError,), retry_backoff=60, retry_backoff_max=7200, max_retries=10)
def charge(order_id):
    return order_id
