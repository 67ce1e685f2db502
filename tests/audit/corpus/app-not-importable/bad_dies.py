import os

from celery import Celery

app = Celery("shop")
os._exit(3)
