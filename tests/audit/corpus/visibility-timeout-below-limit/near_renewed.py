# plan: {"workers": {"default": {"queues": ["celery"], "soft_time_limit": 3000, "time_limit": 7200, "timeout_stop": 7230}}, "broker": {"visibility_renewed": true}}
from celery import Celery

app = Celery("shop", broker="redis://localhost")


@app.task(acks_late=True, soft_time_limit=3000, time_limit=7200)
def build_report(report_id):
    return report_id
