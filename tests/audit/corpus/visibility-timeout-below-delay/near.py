from celery import Celery

app = Celery("shop", broker="redis://localhost")


@app.task(autoretry_for=(OSError,), retry_backoff=60, retry_backoff_max=7200, max_retries=3)
def charge(order_id):  # 60, 120 and 240 seconds
    return order_id
