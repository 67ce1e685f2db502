from celery import Celery

app = Celery("shop", broker="redis://localhost", backend="db+postgresql://shop@localhost/shop")
app.conf.result_backend = "disabled"  # a database for results would be slow, not wrong
