from celery import Celery

app = Celery("shop", broker="rediss://:secret-of-a-test@1.1.1.1:6379/0")
