from celery import Celery

import shop_settings_that_nobody_installed

app = Celery("shop", broker=shop_settings_that_nobody_installed.BROKER)
