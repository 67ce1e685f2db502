from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(bind=True)
def charge(self, order_id):
    try:
        return order_id
    except OSError as problem:
        raise self.retry(exc=problem)
