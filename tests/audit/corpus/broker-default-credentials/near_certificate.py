from celery import Celery

app = Celery("shop", broker="amqps://mq.example.org")
app.conf.broker_login_method = "EXTERNAL"  # by its certificate
