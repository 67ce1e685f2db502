from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


def work(order_id):
    return order_id


@app.task(soft_time_limit=45, time_limit=60)
def charge(order_id):
    try:
        return work(order_id)
    except OSError:
        return None
