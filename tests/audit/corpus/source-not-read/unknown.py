from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


exec("@app.task\ndef charge(order_id):\n    return order_id")
