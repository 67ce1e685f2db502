from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(bind=True, max_retries=None)
def charge(self, order_id):
    if self.request.retries > 5:
        return None
    raise self.retry(countdown=60)
