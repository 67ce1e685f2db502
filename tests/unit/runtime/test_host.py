# SPDX-License-Identifier: GPL-3.0-or-later
"""What the process takes over from systemd: credentials, release, notification socket."""

import json
import os
import socket
from pathlib import Path

import pytest
from celeryops_runtime import cli, credentials, release
from celeryops_runtime.errors import ConfigurationError
from celeryops_runtime.guard import harmless
from celeryops_runtime.notify import Notifier
from celeryops_runtime.watchdog import Watchdog
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection

from .conftest import Notifications

DSN = "http://key@tracker:8000/1"


def write(directory: Path, name: str, content: object) -> dict[str, str]:
    (directory / f"celery_{name}.json").write_text(json.dumps(content))
    return {"CREDENTIALS_DIRECTORY": str(directory)}


def test_credentials_reach_the_environment(tmp_path: Path) -> None:
    write(tmp_path, "sentry", {"dsn": DSN, "environment": "test", "sample_rate": 0.5})
    environ = write(
        tmp_path, "celery", {"broker_url": "amqp://b", "result_backend": "redis://r", "environment": {"KEY": "k"}}
    )

    given = credentials.load(environ)

    assert given.sentry == credentials.Sentry(DSN, "test", 0.5)
    assert environ["CELERY_BROKER_URL"] == environ["BROKER_URL"] == "amqp://b"
    assert environ["CELERY_RESULT_BACKEND"] == environ["RESULT_BACKEND"] == "redis://r"
    assert (environ["KEY"], environ["SENTRY_DSN"], environ["SENTRY_ENVIRONMENT"]) == ("k", DSN, "test")


@pytest.mark.parametrize("content", [{"dsn": ""}, {"dsn": None}, {}])
def test_without_a_dsn_there_is_no_sentry(tmp_path: Path, content: object) -> None:
    assert credentials.read(write(tmp_path, "sentry", content)).sentry is None


def test_outside_systemd_there_are_none() -> None:
    environ: dict[str, str] = {}
    assert credentials.load(environ) == credentials.Credentials()
    assert environ == {}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("celery", {"broker_url": 5}, "broker_url must be text"),
        ("celery", {"environment": {"A": 1}}, "environment must map names to texts"),
        ("celery", ["pa55"], "must hold a JSON object"),
        ("sentry", {"dsn": DSN, "sample_rate": 2}, "sample_rate must be a number from 0.0 to 1.0"),
    ],
)
def test_bad_credentials_are_refused_without_quoting_them(
    tmp_path: Path, name: str, content: object, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        credentials.read(write(tmp_path, name, content))
    assert "pa55" not in str(caught.value)
    assert DSN not in str(caught.value)


def test_the_release_is_the_directory_behind_the_link(tmp_path: Path) -> None:
    (tmp_path / "releases/r7/venv").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/r7")
    prefix = str(tmp_path / "current/venv")
    assert release.release_id({}, prefix) is None
    (tmp_path / "releases/r7/release.json").touch()
    assert release.release_id({}, prefix) == "r7"
    assert release.release_id({"CELERYOPS_RELEASE": "named"}, prefix) == "named"


@pytest.mark.parametrize(
    ("content", "commit"), [('{"commit": "1a2b-dirty"}', "1a2b-dirty"), ("{}", ""), ("", ""), ("[]", "")]
)
def test_the_commit_stands_in_the_release(tmp_path: Path, content: str, commit: str) -> None:
    (tmp_path / "r7/venv").mkdir(parents=True)
    assert release.commit(str(tmp_path / "r7/venv")) == ""
    (tmp_path / "r7/release.json").write_text(content)
    assert release.commit(str(tmp_path / "r7/venv")) == commit


def test_only_the_link_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "r7/venv/bin").mkdir(parents=True)
    (tmp_path / "r7/venv/bin/python").symlink_to("/usr/bin/python3")
    (tmp_path / "current").symlink_to("r7")
    prefix = tmp_path / "current/venv"
    argv = ["/any/python", "-X", "dev", "-m", "celeryops_runtime", "worker"]

    command = release.pinned_command(str(prefix), str(prefix / "bin/python"), argv)

    assert command == [str(tmp_path / "r7/venv/bin/python"), *argv[1:]]
    assert release.pinned_command(str(tmp_path / "r7/venv"), "python", argv) is None
    environment = release.pinned_environment({"PYTHONPATH": f"/opt:{tmp_path}/current/src:"})
    assert environment["PYTHONPATH"] == f"/opt:{tmp_path}/r7/src:"


@pytest.mark.parametrize("abstract", [False, True])
def test_messages_arrive(tmp_path: Path, abstract: bool) -> None:
    name = f"@celeryops-test-{os.getpid()}" if abstract else str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if abstract else name)
        environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
        notifier = Notifier(environ)
        assert notifier.send("READY=1", "STATUS=x")
        assert sock.recv(100) == b"READY=1\nSTATUS=x"
    assert environ == {}, "children must not inherit the socket"
    assert notifier.watchdog == 30
    assert not notifier.send("WATCHDOG=1"), "nobody listens any more"


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}]
)
def test_nobody_watches(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    assert notifier.watchdog is None
    assert not notifier.send("READY=1")


def test_a_child_says_nothing(notifications: Notifications) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(notifications.path)})
    pid = os.fork()
    if pid == 0:
        os._exit(notifier.send("READY=1"))
    assert os.waitpid(pid, 0)[1] == 0


def test_while_the_broker_is_away_the_watchdog_is_fed(notifications: Notifications) -> None:
    watchdog = Watchdog(Notifier({"NOTIFY_SOCKET": str(notifications.path), "WATCHDOG_USEC": "9000000"}))
    called: list[bool] = []
    connection = watchdog.feed(Connection("amqp://u:p@127.0.0.1:1//", connect_timeout=1))

    with pytest.raises(OSError, match="refused"):
        connection.ensure_connection(
            max_retries=1, interval_start=0, callback=lambda: called.append(True), reraise_as_library_errors=False
        )

    assert called
    assert "EXTEND_TIMEOUT_USEC" in notifications.wait_for("WATCHDOG=1")
    watchdog.consuming(["critical"])
    notifications.wait_for("READY=1")
    watchdog.waiting("amqp://b")
    assert "EXTEND" not in notifications.wait_for("waiting for the broker amqp://b")


def test_pings_are_not_sent_more_often_than_needed(notifications: Notifications) -> None:
    watchdog = Watchdog(Notifier({"NOTIFY_SOCKET": str(notifications.path), "WATCHDOG_USEC": "30000000"}))
    for _ in range(5):
        watchdog.ping()
    notifications.wait_for("WATCHDOG=1")
    with pytest.raises(AssertionError):
        notifications.wait_for("WATCHDOG=1", timeout=0.1)


def test_a_fault_of_ours_is_logged_and_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    @harmless
    def broken() -> None:
        raise ZeroDivisionError

    broken()
    assert "ZeroDivisionError" in caplog.text


@given(st.lists(st.text()), st.lists(st.text()))
def test_arguments_are_split_at_the_first_dashes(own: list[str], rest: list[str]) -> None:
    own = [argument for argument in own if argument != "--"]
    assert cli.split([*own, "--", *rest]) == (own, rest)
    assert cli.split(own) == (own, [])


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["exec"], "exec needs a command"),
        (["exec", "--", "/no/such/command"], "/no/such/command cannot be run: No such file"),
        (["event"], "No Sentry DSN is set"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": "/bin"})
    assert cli.main(argv) == cli.EX_CONFIG
    assert sentence in capsys.readouterr().err
