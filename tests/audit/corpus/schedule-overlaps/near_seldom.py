from celery.schedules import crontab
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_time_limit = 900
app.conf.beat_schedule = {"often": {"task": "near_seldom.charge", "schedule": crontab(minute="0", hour="3,15")}}


@app.task
def charge(order_id):
    return order_id
