from celery.utils.log import get_task_logger

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")
log = get_task_logger(__name__)


@app.task
def charge(order_id):
    log.info("charging %s", order_id)


def command():  # no task
    print("charging")
