from celery import Celery

app = Celery("shop", broker="amqp://shop:secret-of-a-test@10.0.0.5/shop")
app.conf.broker_use_ssl = True
