# live: {"product": "RabbitMQ", "version": "4.0.5", "refused": {"queue celery": "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'celery' in vhost '/': received 'quorum' but current is 'classic'"}}
from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
