import random

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(bind=True)
def charge(self, order_id):
    raise self.retry(countdown=2**self.request.retries * random.uniform(1, 1.3))
