# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that units and operators run: ``python -m celeryops_runtime <command>``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from celeryops_runtime import credentials, environment, objects, probe, release, settings
from celeryops_runtime.errors import ConfigurationError

#: sysexits.h: the configuration is wrong, starting again will not help.
EX_CONFIG = 78
LOADER = "celeryops_runtime.loader:Loader"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m celeryops_runtime", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("worker", "run a Celery worker"), ("beat", "run Celery's beat")):
        command = commands.add_parser(name, help=f"{text}; options after -- are Celery's own")
        command.add_argument("--app", required=True, help="the Celery app, as module:attribute")
        if name == "worker":
            _add_worker_options(command)
    command = commands.add_parser("probe", help="end this host's workers that take no messages though there are some")
    command.add_argument("--directory", default="/run/celery", help="where the workers' units have their directories")
    declare = commands.add_parser("declare", help="declare the objects on standard input on a broker that others run")
    declare.add_argument("--check", action="store_true", help="declare nothing, but look whether they are there")
    login = commands.add_parser("login", help="try whether the result backend lets this host in and keeps something")
    login.add_argument("--app", default="", help="the Celery app whose backend is meant, as module:attribute")
    login.add_argument("--broker", action="store_true", help="try the broker, too")
    commands.add_parser("exec", help="run the command after -- with the app's credentials and settings")
    event = commands.add_parser("event", help="send a test event to Sentry, wait for the answer and print its id")
    event.add_argument("--text", default="celeryops: test event", help="the event's text")
    return parser


def _add_worker_options(worker: argparse.ArgumentParser) -> None:
    worker.add_argument("--stop-timeout", type=float, metavar="SECONDS", help="what the unit's warm stop may take")
    worker.add_argument(
        "--delivery",
        choices=("at_least_once", "at_most_once"),
        default="at_least_once",
        help="at_most_once: whatever fails, no task of this worker is delivered again",
    )
    worker.add_argument("--no-events", action="store_true", help="send no events of tasks, whoever asks for them")


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """This package's own arguments, and those after the first ``--``."""
    own = list(argv)
    if "--" not in own:
        return own, []
    at = own.index("--")
    return own[:at], own[at + 1 :]


def _celery(
    given: argparse.Namespace, rest: list[str], secrets: credentials.Credentials, release_id: str | None
) -> int:
    """Run Celery in this process."""
    # Imported late: Celery and the modules that need it read the environment when they are imported. And before the
    # application, which may still change it.
    import billiard.common  # noqa: F401
    from celery.bin.celery import celery

    from celeryops_runtime import logs, readiness, sentry
    from celeryops_runtime.notify import Notifier
    from celeryops_runtime.options import Options
    from celeryops_runtime.status import Report
    from celeryops_runtime.watchdog import Watchdog

    options = Options()
    if given.command == "worker":
        options = Options(given.stop_timeout, given.delivery == "at_most_once", given.no_events)
    report = Report(logs.identifier(), os.environ.get("RUNTIME_DIRECTORY"), options.stop_timeout)
    logs.connect(node=given.command)
    sentry.connect(secrets.sentry, release_id)
    readiness.connect(Watchdog(Notifier(os.environ), report), options)
    # Without Celery's prefix for variables (auto_envvar_prefix), each of which would be an option of the worker.
    return int(celery(args=["--app", given.app, "--loader", LOADER, given.command, *rest], prog_name="celery") or 0)


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
        if commit := release.commit():
            os.environ.setdefault("CELERYOPS_COMMIT", commit)
        if undoing := environment.clean(os.environ):
            print(
                f"celeryops: these variables would undo the plan and do not apply: {', '.join(undoing)}.",
                file=sys.stderr,
            )
        environment.give_home(os.environ)
        settings.read(os.environ)  # Celery swallows errors at the places where they are read again
        os.environ["CELERY_LOADER"] = LOADER
        match options.command:
            case "probe":
                return probe.run(Path(options.directory), os.environ)
            case "declare":
                return objects.run(sys.stdin.read(), os.environ, options.check)
            case "login":
                from celeryops_runtime import login  # needs Celery, which reads the environment

                return login.run(sys.stdin.read(), os.environ, options.app, options.broker)
            case "exec":
                return _exec(rest)
            case "event":
                return _event(options.text, given, release_id)
            case _:
                return _celery(options, rest, given, release_id)
    except ConfigurationError as error:
        print(f"celeryops: {error}", file=sys.stderr)
        return EX_CONFIG
