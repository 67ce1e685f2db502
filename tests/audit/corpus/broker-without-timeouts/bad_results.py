from celery import Celery

app = Celery("shop", broker="redis://localhost", backend="redis://localhost/1")
app.conf.broker_transport_options = {"socket_timeout": 15}
app.conf.redis_socket_timeout = None
