# plan: {"workers": {"default": {"queues": ["celery"], "soft_time_limit": 45, "time_limit": 60}}, "broker": {"consumer_timeout": 1800000}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(acks_late=True, soft_time_limit=3000, time_limit=3600)
def build_report(report_id):
    return report_id
