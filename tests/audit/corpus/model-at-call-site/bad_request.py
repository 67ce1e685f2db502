from django.db import models

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


class User(models.Model):
    pass


@app.task
def welcome(user):
    return user


def view(request):
    welcome.apply_async(args=[request.user])
