import threading

from celery import Celery, signals

app = Celery("shop")


@signals.worker_process_init.connect
def wait_for_the_database(**_):
    threading.Event().wait()
