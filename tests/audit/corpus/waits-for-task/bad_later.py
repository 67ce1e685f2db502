from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task
def charge(order_id):
    return order_id


@app.task
def fulfil(task_id):
    return app.AsyncResult(task_id).wait(timeout=5)
