from celery import Celery

app = Celery("shop", broker="redis://:secret-of-a-test@1.1.1.1:6379/0")
