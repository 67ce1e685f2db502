# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a broker or a result backend that does not let a host in, or keeps nothing."""

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery
from celery.backends.base import KeyValueStoreBackend
from celeryops_runtime import cli, login, objects, outcomes
from celeryops_runtime.deadline import ended_in
from celeryops_runtime.errors import ConfigurationError
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError
from redis.exceptions import ConnectionError as NoConnection

Ask = Callable[..., str]


class Results(KeyValueStoreBackend):  # type: ignore[misc]
    """Keeps what it is given, or says why not."""

    error: Exception | None = None
    times = float("inf")
    kept: dict[bytes, Any]

    def get(self, key: bytes) -> Any:
        return None

    def set(self, key: bytes, value: Any) -> None:
        if type(self).error and type(self).times > 0:
            type(self).times -= 1
            raise type(self).error  # type: ignore[misc]
        type(self).kept[key] = value

    def delete(self, key: bytes) -> None:
        type(self).kept.pop(key)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Results]]:
    for name in ("CELERY_LOADER", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERYOPS_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("error", None), ("times", float("inf")), ("kept", {})):
        monkeypatch.setattr(Results, name, value, raising=False)
    from celery.app.backends import BACKEND_ALIASES

    monkeypatch.setitem(BACKEND_ALIASES, "results", f"{__name__}:Results")
    monkeypatch.setattr(login, "PATIENCE", 0.05)
    monkeypatch.setattr(login, "PAUSE", 0.01)
    return Results


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """What the command says."""

    def asked(result_backend: str = "results://me:s3cret-pw@cache:6379/1", **given: Any) -> str:
        request = {"settings": {}, "broker_url": "memory://", "result_backend": result_backend, **given}
        code = login.run(json.dumps(request), {}, "", False)
        said = capsys.readouterr().err
        assert bool(code) == bool(said)
        assert "s3cret-pw" not in said
        return said

    return asked


def test_who_keeps_something_keeps_it_for_a_moment(ask: Ask, backend: type[Results]) -> None:
    assert ask() == ""
    assert backend.kept == {}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            AuthenticationError("invalid username-password pair or user is disabled."),
            "refuses the login (invalid username-password pair or user is disabled): check the user and the "
            "password in celery_result_backend, or celery_result_user, and celery_result_password.",
        ),
        (NoPermissionError("no permissions to run 'setex'"), "does not let its user store results (no permissions to"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "stores nothing (command not"),
        (NoConnection("Error 111 connecting"), "does not answer (Error 111 connecting): check the address in"),
        (ConnectionRefusedError(111, "refused"), "does not answer ([Errno 111] refused): check the address in"),
    ],
)
def test_each_refusal_is_one_sentence(ask: Ask, backend: type[Results], error: Exception, sentence: str) -> None:
    backend.error = error
    said = ask()
    assert said.startswith("celeryops: The result backend results://me:**@cache:6379/1 ")
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("error", [AuthenticationError("no"), NoConnection("gone")])
def test_the_application_s_own_result_backend_is_not_looked_for_in_the_inventory(
    backend: type[Results], error: Exception
) -> None:
    backend.error = error
    said = login.results(Celery(backend="results://me@cache/1", set_as_current=False), planned=False)
    assert "in the application's own result_backend setting" in said
    assert "celery_result" not in said


def test_one_without_an_address_is_called_by_its_name(ask: Ask, backend: type[Results]) -> None:
    backend.error = ConnectionRefusedError(111, "refused")
    assert "The result backend results does not answer" in ask("results")


def test_who_is_just_restarted_is_asked_again(ask: Ask, backend: type[Results]) -> None:
    backend.error, backend.times = NoConnection("loading"), 2
    assert ask() == ""


def test_one_that_celery_would_ask_without_end_is_told_as_well(
    ask: Ask, backend: type[Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Results, "exception_safe_to_retry", lambda self, error: True)
    backend.error = ConnectionRefusedError(111, "refused")
    with ended_in(5):
        assert "does not answer ([Errno 111] refused)" in ask(settings={"result_backend_always_retry": True})


def test_who_refuses_is_not_asked_again(ask: Ask, backend: type[Results]) -> None:
    backend.error, backend.times = AuthenticationError("no"), 1
    assert "refuses the login" in ask()


def test_without_a_result_backend_nothing_is_asked(ask: Ask, backend: type[Results]) -> None:
    assert ask("") == ""


def test_what_the_next_release_may_bring_is_not_missed_yet(ask: Ask, backend: type[Results]) -> None:
    assert ask("nothing_of_that_name.at_all:Backend://") == ""


def test_a_redis_as_broker_that_refuses_is_not_asked_again() -> None:
    with pytest.raises(AuthenticationError):
        objects._unless_refused(AuthenticationError("no"), 1)
    objects._unless_refused(NoConnection("gone"), 1)
    place = SimpleNamespace(hostname="mq", port=6379, userid=None, virtual_host="0", transport=None)
    said = objects._not_connected(place, AuthenticationError("no such user."))
    assert said.startswith("The broker at mq:6379 does not let who names no user into '0' (no such user): check")


def test_a_broker_that_lets_in_and_keeps_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NoPermissionError("no permissions to run 'set'.")

    class Opened:
        hostname, port, transport = "mq", 6379, SimpleNamespace(driver_type="redis")
        default_channel = SimpleNamespace(client=SimpleNamespace(set=refuse))

        def __enter__(self) -> "Opened":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(objects, "opened", lambda shared: Opened())
    with pytest.raises(ConfigurationError, match=r"mq:6379 lets this host in, but keeps nothing \(no permissions"):
        login.broker({})


def test_the_command_has_its_options() -> None:
    options = cli._parser().parse_args(["login", "--broker", "--app", "shop:app"])
    assert (options.command, options.broker, options.app) == ("login", True, "shop:app")


def test_an_error_is_told_without_what_was_to_be_stored() -> None:
    error = OutOfMemoryError("Command # 1 (SETEX key 86400 s3cret-pw) of pipeline caused error: no memory")
    assert outcomes.said(error) == "OutOfMemoryError: no memory"
    error = OperationalError("(psycopg.errors.DiskFull) no space left\n[SQL: UPDATE x]\n[parameters: ('s3cret-pw',)]")
    assert outcomes.said(error) == "OperationalError: (psycopg.errors.DiskFull) no space left"
    assert outcomes.said(OperationalError("gone")) == "OperationalError: gone"
    assert outcomes.said(SoftTimeLimitExceeded()) == "it does not answer in time"
