# live: {"product": "Redis", "version": "8.0.2"}
from celery import Celery

app = Celery("shop", broker="redis://localhost")
