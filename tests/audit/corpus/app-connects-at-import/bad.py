import contextlib
import socket

from celery import Celery

app = Celery("shop")
with contextlib.suppress(OSError):
    cache = socket.create_connection(("127.0.0.1", 1), timeout=1)
