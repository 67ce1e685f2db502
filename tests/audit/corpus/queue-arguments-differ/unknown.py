# live: {"problem": "the broker did not answer: ConnectionRefusedError"}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
