from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(bind=True)
def charge(self, order_id):
    raise self.retry(countdown=5 * 60)
