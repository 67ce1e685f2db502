import time

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(bind=True, max_retries=None)
def charge(self, order_id, deadline):
    if time.time() > deadline:
        raise TimeoutError(order_id)
    raise self.retry(countdown=60)
