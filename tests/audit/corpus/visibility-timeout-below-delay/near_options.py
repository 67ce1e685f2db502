from celery import Celery

app = Celery("shop", broker="redis://localhost")


@app.task(bind=True, default_retry_delay=7200)
def charge(self, order_id, **options):
    raise self.retry(**options)
