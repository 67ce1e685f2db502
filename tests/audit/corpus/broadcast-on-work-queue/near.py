# plan: {"workers": {"default": {"queues": ["celery", "refresh"], "time_limit": 60}}}
from celery import Celery
from kombu import Queue

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_queues = [Queue("celery"), Queue("refresh")]  # of work, whatever it is called


@app.task(queue="refresh")
def reload():
    return 1
