# SPDX-License-Identifier: GPL-3.0-or-later
"""The project. Its Celery application is loaded with Django, so that `shared_task` finds it in web processes, too."""

from bookshop.celery import app as celery_app

__all__ = ("celery_app",)
