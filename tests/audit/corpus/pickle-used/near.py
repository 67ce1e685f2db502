from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.result_serializer = "msgpack"


@app.task
def charge(order_id):
    return order_id
