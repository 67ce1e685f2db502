from celery import Celery

app = Celery("shop", broker="redis://:secret-of-a-test@10.0.0.5:6379/0")
