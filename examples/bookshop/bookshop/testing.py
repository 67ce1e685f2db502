# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings for `manage.py test`, which needs neither a broker nor PostgreSQL."""

import os

os.environ.update({"DATABASE_PASSWORD": "", "SECRET_KEY": "of a test"})

from bookshop.settings import *  # noqa: F403

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CELERY_TASK_ALWAYS_EAGER = True
