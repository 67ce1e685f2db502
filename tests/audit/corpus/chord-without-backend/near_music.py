from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


def chord(*notes):
    return notes


@app.task
def play(name):
    return chord("c", "e", "g")
