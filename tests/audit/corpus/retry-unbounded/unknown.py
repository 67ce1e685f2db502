from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


exec("@app.task(bind=True, max_retries=None)\ndef charge(self, order_id):\n    raise self.retry()")
