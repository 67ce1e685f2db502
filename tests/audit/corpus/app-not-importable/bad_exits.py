import sys

from celery import Celery

app = Celery("shop")
sys.exit("DATABASE is not set")
