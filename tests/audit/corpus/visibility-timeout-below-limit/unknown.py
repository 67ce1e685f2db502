from celery import Celery

app = Celery("shop", broker="redis://localhost")


@app.task(acks_late=True)
def build_report(report_id):
    return report_id
