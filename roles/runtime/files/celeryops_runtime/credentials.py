# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that systemd hands to the unit (``LoadCredential=``), put into the environment before the app is imported."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from celeryops_runtime import files
from celeryops_runtime.errors import ConfigurationError

#: systemd's names for the files of a directory loaded as ``LoadCredential=celery:<directory>``.
CELERY_FILE = "celery_celery.json"
SENTRY_FILE = "celery_sentry.json"

#: Each credential under the name that Celery reads itself and the short one that twelve-factor apps read.
_BROKER_NAMES = ("CELERY_BROKER_URL", "BROKER_URL")
_BACKEND_NAMES = ("CELERY_RESULT_BACKEND", "RESULT_BACKEND")


@dataclass(frozen=True)
class Sentry:
    """Where errors are reported."""

    dsn: str
    environment: str = "production"
    sample_rate: float = 0.0


@dataclass(frozen=True)
class Credentials:
    """All that the unit was given; everything is absent outside systemd."""

    broker_url: str | None = None
    result_backend: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Which of the environment nobody may see.
    secret: frozenset[str] = frozenset()
    sentry: Sentry | None = None

    def variables(self) -> dict[str, str]:
        """The environment variables that carry these credentials."""
        variables = dict(self.environment)
        if self.broker_url:
            variables.update(dict.fromkeys(_BROKER_NAMES, self.broker_url))
        if self.result_backend:
            variables.update(dict.fromkeys(_BACKEND_NAMES, self.result_backend))
        if self.sentry:
            variables["SENTRY_DSN"] = self.sentry.dsn
            variables["SENTRY_ENVIRONMENT"] = self.sentry.environment
        return variables

    def secrets(self) -> set[str]:
        """What of it is secret as a whole; of an address only the password is."""
        found = {self.environment.get(name, "") for name in self.secret}
        return (found | {self.sentry.dsn if self.sentry else ""}) - {""}


def _text(path: Path, content: Mapping[str, object], key: str) -> str | None:
    value = content.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{path}: {key} must be text.")
    return value or None


def _celery(path: Path) -> Credentials:
    content = files.read_object(path)
    environment = content.get("environment") or {}
    if not isinstance(environment, dict) or not all(isinstance(value, str) for value in environment.values()):
        raise ConfigurationError(f"{path}: environment must map names to texts.")
    secret = content.get("secret") or []
    if not isinstance(secret, list) or not all(isinstance(name, str) for name in secret):
        raise ConfigurationError(f"{path}: secret must be a list of names in environment.")
    broker_url, result_backend = (_text(path, content, name) for name in ("broker_url", "result_backend"))
    return Credentials(broker_url, result_backend, environment, frozenset(secret))


def _sentry(path: Path) -> Sentry | None:
    content = files.read_object(path)
    dsn = _text(path, content, "dsn")
    rate = content.get("sample_rate", 0.0)
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
        raise ConfigurationError(f"{path}: sample_rate must be a number from 0.0 to 1.0.")
    return Sentry(dsn, _text(path, content, "environment") or "production", float(rate)) if dsn else None


def read(environ: Mapping[str, str]) -> Credentials:
    """The credentials of this unit."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return Credentials()
    celery, sentry = Path(directory, CELERY_FILE), Path(directory, SENTRY_FILE)
    given = _celery(celery) if celery.exists() else Credentials()
    return replace(given, sentry=_sentry(sentry) if sentry.exists() else None)


def beside(environ: Mapping[str, str]) -> dict[str, str]:
    """This environment and, where it says nothing else, the credentials of its unit: a web process has no launcher."""
    return {**read(environ).variables(), **environ}


def load(environ: MutableMapping[str, str]) -> Credentials:
    """Read the credentials and put them into this environment."""
    credentials = read(environ)
    environ.update(credentials.variables())
    return credentials
