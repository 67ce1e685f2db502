from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


class Card(app.Task):
    name = "shop.charge"

    def run(self, order_id):
        return order_id


class Account(app.Task):
    name = "shop.charge"

    def run(self, order_id):
        return order_id


app.register_task(Card())
app.register_task(Account())
