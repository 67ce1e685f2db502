# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input ends in one clear sentence, and leaves a real host exactly as it was.

Run by molecule against a host on which nothing is deployed yet:
    pytest tests/bad_inputs --inventory=molecule/default/inventory --machine=default/debian13
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SECRET = "s3cret-of-the-test"

#: What is wrong, the variables that make it so, and what the sentence must say: the variable and the remedy.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a database as broker": (
        {"celery_broker": "sqla+postgresql://user@db/tasks"},
        ["celery_broker uses 'sqla+postgresql', a database", "write rabbitmq, redis or a URL"],
    ),
    "a broker for tests": ({"celery_broker": "memory://"}, ["celery_broker uses 'memory'", "write rabbitmq, redis"]),
    "a soft limit not below the hard one": (
        {"celery_workers": {"default": {"soft_time_limit": 60, "time_limit": 60}}},
        ["celery_workers['default']: soft_time_limit (60 s) is not below time_limit (60 s)", "write a soft_time_limit"],
    ),
    "an unknown key": (
        {"celery_workers": {"default": {"concurency": 2}}},
        ["celery_workers['default'] has an unknown key 'concurency'", "did you mean 'concurrency'?"],
    ),
    "two units of one name": (
        {"celery_workers": {"mail_out": {}, "mail-out": {}}},
        ["celery_workers: 'mail_out' and 'mail-out' would both be the unit", "rename one of them"],
    ),
    "no worker at all": ({"celery_workers": {}}, ["celery_workers names no worker", "write at least one entry"]),
    "no application": ({"celery_app": ""}, ["celery_app is not set", "write where your Celery application is"]),
    "no source of the application": ({"app_source": ""}, ["app_source is not set", "write what to release"]),
    "an application that is not there": (
        {"app_source": "/nowhere/shop"},
        ["app_source names the directory /nowhere/shop, which is not there", "write the path of your project"],
    ),
    "a DSN without its key": (
        {"celery_sentry_dsn": "https://tracker.example.org/1"},
        ["sentry_dsn"],
    ),
    "Flower in public without a login": (
        {"flower_address": "203.0.113.7", "flower_user": "", "flower_password": ""},
        ["flower_address", "flower_user", "flower_password"],
    ),
    "a password inside the broker's URL": (
        {"celery_broker": f"amqp://user:{SECRET}@broker/vhost"},
        ["celery_broker carries a password", "celery_broker_password"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, refuses: Callable[..., None]) -> None:
    refuses(*REFUSED[name], secret=SECRET)


def test_the_snapshot_notices_a_change(on_host: Callable[[str], str], snapshot: str) -> None:
    """Without this, the test above could compare nothing with nothing."""
    before = on_host(snapshot)
    on_host("touch /etc/celeryops-was-here")
    changed = on_host(snapshot)
    on_host("rm /etc/celeryops-was-here")
    assert changed != before
