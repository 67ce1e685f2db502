from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(bind=True, max_retries=None)  # never retried
def charge(self, order_id):
    return order_id
