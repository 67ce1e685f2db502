from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_acks_late = True
app.conf.task_reject_on_worker_lost = True


@app.task
def charge(order_id):
    return order_id
