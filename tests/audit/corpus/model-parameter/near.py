from django.db import models

from celery import Celery

app = Celery("shop", broker="amqp://shop@localhost")


class User(models.Model):
    pass


@app.task
def welcome(user_id: int) -> User:
    return User.objects.get(id=user_id)
