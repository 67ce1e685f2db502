from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.beat_schedule = {"nightly": {"task": "near.charge", "schedule": 86400}}


@app.task
def charge(order_id):
    return order_id
