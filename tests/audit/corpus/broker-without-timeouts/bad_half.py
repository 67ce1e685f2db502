from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
app.conf.broker_transport_options = {"read_timeout": 20}
