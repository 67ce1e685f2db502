# SPDX-License-Identifier: GPL-3.0-or-later
"""Bugsink's settings. What differs between installations comes from the unit's credential bugsink.json."""

import json
import os
from pathlib import Path

from bugsink.conf_utils import deduce_allowed_hosts, deduce_script_name
from bugsink.settings.default import *  # noqa: F403 # pylint: disable=wildcard-import
from bugsink.settings.default import DATABASES, SPECTACULAR_SETTINGS

_config = json.loads((Path(os.environ["CREDENTIALS_DIRECTORY"]) / "bugsink.json").read_text(encoding="utf-8"))
_state = Path(os.environ["STATE_DIRECTORY"])

SECRET_KEY = _config["secret_key"]
TIME_ZONE = _config["time_zone"]
DATABASES["default"]["NAME"] = str(_state / "db.sqlite3")
DATABASES["snappea"]["NAME"] = str(_state / "snappea.sqlite3")
SNAPPEA = {
    "TASK_ALWAYS_EAGER": False,
    "NUM_WORKERS": 2,
    "PID_FILE": None,
    "WAKEUP_CALLS_DIR": str(_state / "snappea" / "wakeup"),
    "STATS_RETENTION_MINUTES": 7 * 24 * 60,
}
# Nobody is invited and nobody resets a password by mail: accounts are made by whoever administers the page.
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
SERVER_EMAIL = DEFAULT_FROM_EMAIL = "Bugsink <bugsink@localhost>"

BUGSINK = {
    "BASE_URL": _config["base_url"],
    "SITE_TITLE": _config["title"],
    "SINGLE_USER": False,
    "SINGLE_TEAM": True,
    "USER_REGISTRATION": "CB_NOBODY",
    "TEAM_CREATION": "CB_NOBODY",
    "INGEST_STORE_BASE_DIR": str(_state / "ingestion"),
    "MAX_RETENTION_EVENT_COUNT": _config["max_events"],
    "MINIMIZE_INFORMATION_EXPOSURE": True,
    # Bugsink reports version, settings and usage to its makers unless it is told not to.
    "PHONEHOME": False,
}

ALLOWED_HOSTS = [*deduce_allowed_hosts(BUGSINK["BASE_URL"]), _config["address"], "localhost", "127.0.0.1"]
SPECTACULAR_SETTINGS["SERVE_PERMISSIONS"] = ["bugsink.permissions.IsAuthTokenAuthenticated"]

FORCE_SCRIPT_NAME = deduce_script_name(BUGSINK["BASE_URL"])
STATIC_URL = f"{FORCE_SCRIPT_NAME or ''}/static/"
if _config["base_url"].startswith("https://"):
    # TLS ends at a proxy in front, which says so in this header.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    USE_X_REAL_IP = True
