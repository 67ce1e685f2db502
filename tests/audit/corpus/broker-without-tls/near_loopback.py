from celery import Celery

app = Celery("shop", broker="amqp://shop:secret-of-a-test@127.0.0.1/shop")
