from django.db import models

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


class User(models.Model):
    def save(self):
        welcome.delay(self)


@app.task
def welcome(user):
    return user
