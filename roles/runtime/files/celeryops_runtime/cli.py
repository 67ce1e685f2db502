# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that units and operators run: ``python -m celeryops_runtime <command>``."""

import argparse
import os
import sys
from collections.abc import Sequence

from celeryops_runtime import credentials, release, settings
from celeryops_runtime.errors import ConfigurationError

#: sysexits.h: the configuration is wrong, starting again will not help.
EX_CONFIG = 78


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m celeryops_runtime", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("worker", "run a Celery worker"), ("beat", "run Celery's beat")):
        command = commands.add_parser(name, help=f"{text}; options after -- are Celery's own")
        command.add_argument("--app", required=True, help="the Celery app, as module:attribute")
    commands.add_parser("exec", help="run the command after -- with the app's credentials and settings")
    event = commands.add_parser("event", help="send a test event to Sentry, wait for the answer and print its id")
    event.add_argument("--text", default="celeryops: test event", help="the event's text")
    return parser


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """This package's own arguments, and those after the first ``--``."""
    own = list(argv)
    if "--" not in own:
        return own, []
    at = own.index("--")
    return own[:at], own[at + 1 :]


def _celery(command: str, app: str, rest: list[str], given: credentials.Credentials, release_id: str | None) -> int:
    """Run Celery in this process."""
    # Imported late: Celery and the modules that need it read the environment when they are imported.
    from celery.bin.celery import celery

    from celeryops_runtime import logs, readiness, sentry
    from celeryops_runtime.notify import Notifier
    from celeryops_runtime.watchdog import Watchdog

    logs.connect(node=command)
    sentry.connect(given.sentry, release_id)
    readiness.connect(Watchdog(Notifier(os.environ)))
    arguments = ["--app", app, command, *rest]
    return int(celery(args=arguments, prog_name="celery", auto_envvar_prefix="CELERY") or 0)


def _exec(command: list[str]) -> int:
    """Become that command; programs of the app's virtual environment come first."""
    if not command:
        raise ConfigurationError("exec needs a command after --, for example: exec -- celery -A shop inspect ping.")
    os.environ["PATH"] = os.pathsep.join([os.path.join(sys.prefix, "bin"), os.environ.get("PATH", os.defpath)])
    sys.stdout.flush()
    try:
        os.execvpe(command[0], command, os.environ)  # noqa: S606 becoming that command is the purpose
    except OSError as error:
        raise ConfigurationError(f"{command[0]} cannot be run: {error.strerror}.") from None


def _event(text: str, given: credentials.Credentials, release_id: str | None) -> int:
    """Prove that errors reach the tracker."""
    if given.sentry is None:
        raise ConfigurationError("No Sentry DSN is set on this host: set celery_sentry_dsn and run the playbook.")
    from celeryops_runtime import sentry

    try:
        event_id, problem = sentry.send_event(given.sentry, release_id, text)
    except ImportError:
        raise ConfigurationError("The app's release has no sentry-sdk: add it to its requirements.") from None
    if problem:
        print(f"celeryops: {problem}.", file=sys.stderr)
        return 1
    print(event_id)
    return 0


def main(argv: Sequence[str]) -> int:
    """Run one command; what is wrong with the host's configuration ends it with one sentence."""
    own, rest = split(argv)
    options = _parser().parse_args(own)
    release.pin(os.environ)
    try:
        given = credentials.load(os.environ)
        release_id = release.release_id(os.environ)
        if release_id:
            os.environ.setdefault("CELERYOPS_RELEASE", release_id)
            os.environ.setdefault("SENTRY_RELEASE", release_id)
        settings.read(os.environ)  # Celery swallows errors at the places where they are read again
        os.environ["CELERY_LOADER"] = "celeryops_runtime.loader:Loader"
        match options.command:
            case "exec":
                return _exec(rest)
            case "event":
                return _event(options.text, given, release_id)
            case _:
                return _celery(options.command, options.app, rest, given, release_id)
    except ConfigurationError as error:
        print(f"celeryops: {error}", file=sys.stderr)
        return EX_CONFIG
