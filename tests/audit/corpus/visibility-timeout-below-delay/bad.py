from celery import Celery

app = Celery("shop", broker="redis://localhost")


@app.task(autoretry_for=(OSError,), retry_backoff=60, retry_backoff_max=7200, max_retries=10)
def charge(order_id):
    return order_id
