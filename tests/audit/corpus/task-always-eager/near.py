import sys

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_always_eager = "pytest_runs_this" in sys.argv
