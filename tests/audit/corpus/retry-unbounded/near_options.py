from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(bind=True, max_retries=None)
def charge(self, order_id, **options):
    raise self.retry(**options)
