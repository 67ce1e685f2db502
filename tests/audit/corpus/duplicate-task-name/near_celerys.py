from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


@app.task(name="celery.backend_cleanup", shared=False)
def clean_up():
    return None
