from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.beat_schedule = {"often": {"task": "unknown.charge", "schedule": 30}}


@app.task
def charge(order_id):
    return order_id
