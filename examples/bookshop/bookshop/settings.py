# SPDX-License-Identifier: GPL-3.0-or-later
"""Django's settings, with Celery's below CELERY_."""

import os
from pathlib import Path


def secret(name: str) -> str:
    """Workers have their secrets in the environment, a web process has them as credentials of its unit."""
    if name in os.environ:
        return os.environ[name]
    return Path(os.environ["CREDENTIALS_DIRECTORY"], name).read_text(encoding="utf-8").strip()


SECRET_KEY = secret("SECRET_KEY")
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1").split(",")
ROOT_URLCONF = "bookshop.urls"
WSGI_APPLICATION = "bookshop.wsgi.application"
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "django_celery_beat",
    "django_celery_results",
    "orders",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("DATABASE_HOST", "127.0.0.1"),
        "NAME": "bookshop",
        "USER": "bookshop",
        "PASSWORD": secret("DATABASE_PASSWORD"),
    }
}

CELERY_TIMEZONE = "UTC"
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_TIME_LIMIT = 30 * 60
