# plan: {"workers": {"default": {"queues": ["celery"], "time_limit": 60}}}
from celery import Celery
from kombu.common import Broadcast

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_queues = [Broadcast("refresh")]
app.conf.task_routes = {"*.reload": {"queue": "refresh", "exchange": "refresh"}}


@app.task
def reload():
    return 1
