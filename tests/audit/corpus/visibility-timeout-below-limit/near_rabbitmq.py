from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(acks_late=True, soft_time_limit=3000, time_limit=7200)
def build_report(report_id):
    return report_id
