from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_time_limit = 60
app.conf.beat_schedule = {"often": {"task": "bad.charge", "schedule": 30}}


@app.task
def charge(order_id):
    return order_id
