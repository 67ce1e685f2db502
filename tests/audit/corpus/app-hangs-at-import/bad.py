# timeout: 2
import threading

from celery import Celery

app = Celery("shop")
threading.Event().wait()  # until the database answers
