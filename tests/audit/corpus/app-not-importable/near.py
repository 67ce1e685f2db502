from celery import Celery

try:
    import shop_settings_that_nobody_installed as settings
except ImportError:
    settings = None

app = Celery("shop", broker=getattr(settings, "BROKER", "amqp://shop@localhost"))
