# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings are those of celery_app: a second Celery() in the process keeps its own."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import Celery, _state, shared_task
from celeryops_runtime import loader, producer, settings

OURS, THEIRS = "amqp://celery:secret@10.0.0.1:5672/celery", "amqp://crm:other@crm.example:5672/crm"
RESULTS = "redis://results:secret@10.0.0.1:6379/1"
PLAN = {
    "task_acks_late": True,
    "task_default_queue": "critical",
    "task_queues": [{"name": "critical", "exchange": "celery.tasks", "exchange_type": "topic"}],
}
Load = Callable[..., ModuleType]


@pytest.fixture(autouse=True)
def _celerys_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_state, "default_app", None)
    current = _state._tls.current_app
    yield
    _state._tls.current_app = current


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import the application's module, as Python would."""
    file = tmp_path / "settings.json"
    monkeypatch.setenv("CELERY_LOADER", loader.NAME)
    monkeypatch.setenv("CELERYOPS_SETTINGS", str(file))
    for name, value in (("BROKER_URL", OURS), ("BROKER_READ_URL", "amqp://wrong"), ("RESULT_BACKEND", RESULTS)):
        monkeypatch.setenv(f"CELERY_{name}", value)

    def loaded(code: str, app: str = "orders:app", name: str = "orders") -> ModuleType:
        file.write_text(json.dumps({"app": app, "settings": PLAN}))
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(code, vars(module))  # noqa: S102 what an import does
        return module

    return loaded


def is_ours(app: Celery) -> bool:
    """Whether an application speaks to the deployment's broker, by each of the ways that Celery asks."""
    answers = {
        app.connection_for_write().as_uri(include_password=True) == OURS,
        app.connection_for_read().as_uri(include_password=True) == OURS,
        app.conf.broker_url == OURS,
        app.conf.result_backend == RESULTS,
        app.conf.task_acks_late is True,
        "critical" in app.amqp.queues,
    }
    assert len(answers) == 1, (app, dict(app.conf.maps[0]))
    return answers.pop()


SECOND = [
    f'Celery("crm", broker="{THEIRS}")',
    f'Celery("crm", broker="{THEIRS}", set_as_current=False)',
    f'Celery("crm", broker="{THEIRS}", loader="default")',
    f'Celery("orders", broker="{THEIRS}")',
    f'Celery(broker="{THEIRS}")',
    f'Celery("crm", config_source={{"broker_url": "{THEIRS}"}})',
    'Celery("crm")',
]


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("read", ["", "; {0}.conf.task_serializer"])
@pytest.mark.parametrize("order", ["crm app", "app crm"])
def test_a_second_application_keeps_its_own_settings(load: Load, second: str, read: str, order: str) -> None:
    lines = {"app": 'app = Celery("orders", broker="amqp://wrong")', "crm": f"crm = {second}"}
    code = [lines[name] + read.format(name) for name in order.split()]

    module = load("from celery import Celery\n" + "\n".join(code))

    assert is_ours(module.app)
    assert not is_ours(module.crm)
    own = "amqp://guest:**@localhost:5672//" if second == 'Celery("crm")' else THEIRS.replace("other", "**")
    assert module.crm.connection_for_write().as_uri() == own
    assert module.crm.backend.as_uri() == "disabled://"


def test_it_may_read_from_another_broker_than_it_writes_to(load: Load) -> None:
    module = load(
        'from celery import Celery\napp = Celery("orders", broker_read_url="amqp://wrong", broker_write_url="amqp://w")\n'
        f'crm = Celery("crm", broker="{THEIRS}", broker_read_url="amqp://reads//")'
    )
    assert is_ours(module.app)
    assert module.crm.connection_for_read().hostname == "reads"
    assert module.crm.connection_for_write().hostname == "crm.example"


FACTORY = """
from celery import Celery
def make():
    made = Celery("orders", broker="redis://localhost")
    made.config_from_object({"task_acks_late": False}, force=True)
    assert made.conf.task_acks_late is True, "before anybody can know"
    made.set_default()
    return made
"""


@pytest.mark.parametrize("name", ["orders:app", "orders.app", "orders"])
def test_what_a_factory_makes_is_ours_and_so_is_what_it_makes_again(load: Load, name: str) -> None:
    module = load(FACTORY + "app = make()", name)
    assert is_ours(module.app)
    assert is_ours(module.make())


def test_where_its_module_is_not_imported_every_application_may_be_it(load: Load) -> None:
    """Such as a web process that calls the same factory."""
    assert is_ours(load(FACTORY + "app = make()", "make_celery:app").app)


def test_an_application_that_is_imported_under_another_name(load: Load) -> None:
    module = load(FACTORY + f"app = make(); crm = Celery('crm', broker='{THEIRS}')", "project:celery_app")
    load("from orders import app as celery_app", "project:celery_app", "project")
    assert is_ours(module.app)
    assert not is_ours(module.crm)


def test_shared_tasks_are_sent_by_ours_from_every_thread(load: Load) -> None:
    """In the others Celery takes its own default application."""
    load('from celery import Celery\napp = Celery("orders")')
    found: list[bool] = []

    @shared_task(name="orders.shared")
    def task() -> None: ...

    thread = threading.Thread(target=lambda: found.append(is_ours(task.app)))
    thread.start()
    thread.join()
    assert found == [True]


def test_who_is_named_gets_them(load: Load, tmp_path: Path) -> None:
    module = load(f'from celery import Celery\napp = Celery("orders"); crm = Celery("crm", broker="{THEIRS}")')
    assert not is_ours(module.crm)
    producer.configure(module.crm)
    assert module.crm.conf.broker_url == OURS
    module.crm.config_from_object({"broker_url": THEIRS})
    assert module.crm.conf.broker_url == OURS


def test_what_was_taken_for_ours_too_early_forgets_our_settings(load: Load) -> None:
    code = f"""
from celery import Celery
crm = Celery("crm", broker="{THEIRS}", task_routes={{"*": {{"queue": "a", "routing_key": "b"}}}})
assert crm.conf.task_acks_late is True
app = Celery("orders")
"""
    crm: Any = load(code).crm
    assert crm.conf.task_routes == {"*": {"queue": "a", "routing_key": "b"}}
    assert not any(isinstance(layer, settings.Shared) and len(list(layer)) for layer in crm.conf.maps)
