from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


class GatewayBusy(Exception):
    pass


@app.task(autoretry_for=(GatewayBusy, OSError), retry_backoff=True)
def charge(order_id):
    return order_id
