# plan: {"workers": {"default": {"queues": ["celery", "refresh-1"], "time_limit": 60}}}
from celery import Celery
from kombu import Exchange, Queue

app = Celery("shop", broker="redis://localhost")
app.conf.task_queues = {"celery": {}, "refresh-1": Queue("refresh-1", Exchange("refresh", type="fanout"))}


@app.task(queue="refresh-1")
def reload():
    return 1
