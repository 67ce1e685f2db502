from django.db import models

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


class User(models.Model):
    pass


@app.task
def welcome(user):
    return user


def everybody():
    for user in User.objects.filter(active=True):
        welcome.apply_async(kwargs={"user": user})
