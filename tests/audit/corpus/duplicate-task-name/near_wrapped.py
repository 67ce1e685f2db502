import functools

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


def timed(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@app.task
@timed
def charge(order_id):
    return order_id


@app.task
@timed
def ship(order_id):
    return -order_id
