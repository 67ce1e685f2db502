# SPDX-License-Identifier: GPL-3.0-or-later
"""What beat sends, as rows that may be changed while it runs."""

from typing import Any

from django.db import migrations

SECONDS = 10


def add(apps: Any, _schema_editor: Any) -> None:
    """A row for each periodic task; where there is one already it stays."""
    interval, _created = apps.get_model("django_celery_beat", "IntervalSchedule").objects.get_or_create(
        every=SECONDS, period="seconds"
    )
    apps.get_model("django_celery_beat", "PeriodicTask").objects.get_or_create(
        name="confirm missed orders",
        # After an outage of the workers the missed ones are dropped, not run all at once.
        defaults={"task": "orders.tasks.confirm_missed", "interval": interval, "expire_seconds": SECONDS},
    )


class Migration(migrations.Migration):
    """After the tables of django-celery-beat."""

    dependencies = [("orders", "0001_initial"), ("django_celery_beat", "0019_alter_periodictasks_options")]

    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
