import logging

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
log = logging.getLogger(__name__)


@app.task
def charge(order_id):
    log.info("charging %s", order_id)
