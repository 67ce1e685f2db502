from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(name="shop.charge")
def charge_card(order_id):
    return order_id


@app.task(name="shop.charge")
def charge_account(order_id):
    return order_id
