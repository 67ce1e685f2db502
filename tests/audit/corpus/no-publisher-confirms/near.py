from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.task_acks_late = True
app.conf.broker_transport_options = {"confirm_publish": True}


@app.task
def charge(order_id):
    return order_id
