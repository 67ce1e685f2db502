from django.db import models

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


class User(models.Model):
    pass


@app.task
def welcome(user):
    return user


def everybody():
    for pk in User.objects.filter(active=True).values_list("pk", flat=True):
        welcome.delay(pk)
