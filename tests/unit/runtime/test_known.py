# SPDX-License-Identifier: GPL-3.0-or-later
"""A Celery that is not the one that this was made for is named at the start, and so is a replacement that failed."""

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery
from celery.app import trace
from celery.app.amqp import AMQP
from celery.app.routes import Router
from celery.app.task import Task
from celery.worker.consumer import consumer
from celeryops_runtime import applications, delays, known, outcomes, retry, routing
from kombu.connection import ConnectionPool

from .conftest import Host
from .test_worker import start_worker

INSTALLED = Path(sysconfig.get_path("purelib"))
TABLE = known.read()


def test_what_is_installed_is_known() -> None:
    for name, entry in TABLE.items():
        assert known.digest((INSTALLED / name).read_text()) in entry["files"], f"{name}: see tests/support/known.py"
        assert all(entry["functions"].values()), name
    assert list(known.strangers(TABLE)) == []


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The files of the table, where they can be changed."""
    for name in TABLE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(INSTALLED / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", TABLE)
def test_every_function_of_another_version_is_seen(elsewhere: Path, name: str) -> None:
    module = name.removesuffix(".py").replace("/", ".")
    (elsewhere / name).write_text("# something more\n" + (elsewhere / name).read_text())
    assert list(known.strangers(TABLE, lambda _: elsewhere)) == [], "only the file is another one"
    (elsewhere / name).write_text("")
    assert list(known.strangers(TABLE, lambda _: elsewhere)) == [f"{module}.{f}" for f in TABLE[name]["functions"]]
    (elsewhere / name).unlink()
    assert len(list(known.strangers(TABLE, lambda _: elsewhere))) == len(TABLE[name]["functions"])


def test_one_changed_line_names_one_function(elsewhere: Path) -> None:
    file = elsewhere / "celery/app/routes.py"
    file.write_text(file.read_text().replace("kwargs = {} if not kwargs else kwargs", "kwargs = kwargs or {}"))
    assert list(known.strangers(TABLE, lambda _: elsewhere)) == ["celery.app.routes.Router.route"]


def test_a_package_that_is_not_installed_is_nobodys_concern() -> None:
    assert list(known.strangers(TABLE, lambda package: None if package == "redis" else INSTALLED)) == []


def test_a_replacement_that_failed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for install in (delays.round_up, routing.by_queue, applications.keep_urls_apart):
        install()
    monkeypatch.setattr(Task, "retry", Task.retry)  # and put it back afterwards
    monkeypatch.setattr(AMQP, "_retry_publish", AMQP._retry_publish)
    monkeypatch.setattr(ConnectionPool, "replace", ConnectionPool.replace)
    monkeypatch.setattr(Celery, "_get_backend", Celery._get_backend)
    monkeypatch.setattr(trace, "build_tracer", trace.build_tracer)
    monkeypatch.setattr(consumer, "build_tracer", consumer.build_tracer)
    retry.install(None)
    outcomes.install(Celery(set_as_current=False), None)
    assert list(known.originals()) == []
    monkeypatch.setattr(Router, "route", Router.expand_destination)
    said: list[str] = []
    known.check_replaced(lambda text, *words: said.append(text % words))
    assert said == [
        "Celery's own functions are in use, so tasks may get lost or run twice: celery.app.routes.Router.route"
    ]


SABOTAGE = {
    "celeryops_runtime.known.TABLE = pathlib.Path('table.json')": (
        "celeryops was made for other versions than celery 5.7.0, so tasks may get lost or run twice; unknown to it: "
        "celery.app.routes.Router.route. Install"
    ),
    "celeryops_runtime.retry.install = lambda limit: 1 / 0": (
        "Celery's own functions are in use, so tasks may get lost or run twice: celery.app.amqp.AMQP._retry_publish, "
        "celery.app.task.Task.retry, kombu.connection.ConnectionPool.replace"
    ),
}


@pytest.mark.parametrize("sabotage", ["", *SABOTAGE])
def test_a_worker_says_so_when_it_starts(
    host: Host, stop: Callable[[subprocess.Popen[str]], int], sabotage: str
) -> None:
    table = {"celery/app/routes.py": {"files": [], "functions": {"Router.route": ["0"]}}}
    (host.path / "table.json").write_text(json.dumps(table))
    shop = host.path / "shop.py"
    shop.write_text(f"import pathlib, celeryops_runtime.known, celeryops_runtime.retry\n{sabotage}\n{shop.read_text()}")

    assert stop(start_worker(host)) == 0

    lines = [line for line in host.log.splitlines() if "may get lost" in line]
    assert len(lines) == bool(sabotage), host.log
    assert host.log.count("the service goes on without it") == ("1 / 0" in sabotage), host.log
    if sabotage:
        assert SABOTAGE[sabotage] in lines[0]
        assert "ERROR" in lines[0]
