# plan: {"workers": {"default": {"queues": ["celery"], "time_limit": 60}}}
from celery import Celery, chord

app = Celery("shop", broker="amqp://shop@localhost")


@app.task
def add(number):
    return number


def add_all(numbers):
    if app.conf.result_backend:
        chord([add.s(each) for each in numbers])(add.si(0))
    try:
        chord([add.s(each) for each in numbers])(add.si(0))
    except NotImplementedError:
        for each in numbers:
            add.delay(each)
