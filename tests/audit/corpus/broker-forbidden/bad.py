from celery import Celery

app = Celery("shop", broker="sqla+postgresql://shop@db.example.org/shop")
