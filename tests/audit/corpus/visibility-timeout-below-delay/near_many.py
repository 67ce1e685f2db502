from celery import Celery

app = Celery("shop", broker="redis://shop@localhost")


@app.task(autoretry_for=(OSError,), retry_backoff=True, max_retries=100_000)
def charge(order_id):
    return order_id
