# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's settings win, however and whenever an app sets its own."""

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celeryops_runtime import loader, producer, settings
from celeryops_runtime.errors import ConfigurationError

BROKER = "amqp://celery:secret@10.0.0.1:5672/celery"
QUEUE = {
    "name": "critical",
    "exchange": "celery",
    "exchange_type": "topic",
    "routing_key": "critical",
    "queue_arguments": {"x-queue-type": "quorum"},
}
PLAN = {"task_acks_late": True, "task_serializer": "json", "task_queues": [QUEUE], "task_default_queue": "critical"}


def run() -> None: ...


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"app": "shop:app", "settings": PLAN}))
    monkeypatch.delenv("CELERY_LOADER", raising=False)
    monkeypatch.setenv("CELERYOPS_SETTINGS", str(path))
    monkeypatch.setenv("CELERY_BROKER_URL", BROKER)
    monkeypatch.setitem(sys.modules, "users_config", users_config())
    return path


@pytest.fixture
def hosted(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of units and of exec'd commands."""
    monkeypatch.setenv("CELERY_LOADER", loader.NAME)
    return settings_file


def users_config() -> ModuleType:
    module = ModuleType("users_config")
    module.__dict__.update(task_acks_late=False, broker_url="redis://wrong", worker_prefetch_multiplier=7)
    return module


def django_settings() -> SimpleNamespace:
    return SimpleNamespace(
        CELERY_TASK_ACKS_LATE=False, CELERY_BROKER_URL="redis://wrong", CELERY_WORKER_PREFETCH_MULTIPLIER=7
    )


def constructor() -> Celery:
    return Celery("x", broker="redis://wrong", task_acks_late=False, worker_prefetch_multiplier=7)


def updated() -> Celery:
    app = Celery("x", broker="redis://wrong")
    app.conf.update(task_acks_late=False, worker_prefetch_multiplier=7)
    return app


def module_by_name() -> Celery:
    app = Celery("x")
    app.config_from_object("users_config")
    return app


def forced() -> Celery:
    app = Celery("x")
    app.config_from_object("users_config", force=True)
    return app


def configured_twice() -> Celery:
    app = Celery("x")
    assert app.conf.task_acks_late
    app.config_from_object("users_config")
    return app


def namespace() -> Celery:
    app = Celery("x")
    app.config_from_object(django_settings(), namespace="CELERY")
    app.conf.update(CELERY_TASK_ACKS_LATE=False)
    app.autodiscover_tasks(["no_such_package_of_tasks"])
    return app


def old_names() -> Celery:
    app = Celery("x")
    app.conf.update(CELERY_ACKS_LATE=False, CELERYD_PREFETCH_MULTIPLIER=7)
    return app


def set_after_reading() -> Celery:
    app = Celery("x", broker="redis://wrong")
    assert app.conf.task_acks_late
    app.conf.task_acks_late = False
    app.conf.CELERY_ACKS_LATE = False
    app.conf.update(broker_url="redis://wrong", worker_prefetch_multiplier=7)
    return app


def loader_made_early() -> Celery:
    """As Celery's Django fixup does: before the app has its signals."""
    app = Celery("x", fixups=[lambda app: setattr(app.loader, "now", None)])
    app.config_from_object(django_settings(), namespace="CELERY")
    return app


WAYS = [
    constructor,
    updated,
    module_by_name,
    forced,
    configured_twice,
    namespace,
    old_names,
    set_after_reading,
    loader_made_early,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("hosted")
def test_the_plan_wins_and_the_rest_stays_the_apps_own(way: Callable[[], Celery]) -> None:
    app = way()

    assert app.conf.task_acks_late is True
    assert app.conf["task_acks_late"] is True
    assert app.conf.broker_url == app.conf["broker_url"] == BROKER
    assert app.conf.worker_prefetch_multiplier == 7
    assert app.connection_for_write().as_uri(include_password=True) == BROKER.replace("/celery", "/celery")
    queue = app.amqp.queues["critical"]
    assert (queue.exchange.name, queue.exchange.type, queue.queue_arguments) == (
        "celery",
        "topic",
        QUEUE["queue_arguments"],
    )


@pytest.mark.parametrize(
    "way", [way for way in WAYS if way not in (configured_twice, set_after_reading, loader_made_early)]
)
@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.usefixtures("settings_file")
def test_one_call_gives_a_web_process_the_same(way: Callable[[], Celery], read_before: bool) -> None:
    app = way()
    if read_before:
        assert app.conf.task_acks_late is False

    producer.configure(app)

    assert app.conf.task_acks_late is True
    assert app.conf.broker_url == BROKER
    assert app.conf.worker_prefetch_multiplier == 7
    assert app.amqp.queues["critical"].exchange.type == "topic"


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_web_process_gets_the_addresses_from_its_units_credentials(
    settings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    """Not from an environment in which whoever is that user would see them; what is there by hand goes first."""
    urls = {"broker_url": "amqp://producer:p@mq/celery", "result_backend": "redis://results:r@cache/1"}
    (tmp_path / "celery_celery.json").write_text(json.dumps(urls))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("CELERY_LOADER", "celeryops_runtime.loader:Producer")
    if not by_hand:
        monkeypatch.delenv("CELERY_BROKER_URL")
    configured = Celery("x", loader="app")
    producer.configure(configured)

    for app in (constructor(), configured):
        assert app.conf.broker_url == (BROKER if by_hand else urls["broker_url"])
        assert app.conf.result_backend == urls["result_backend"]
    assert ("CELERY_BROKER_URL" in os.environ) is by_hand


@pytest.mark.parametrize("amqp", [True, False])
def test_who_only_sends_declares_nothing_on_rabbitmq(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch, amqp: bool
) -> None:
    """It may not, and everything is there; on Redis a queue's binding has to be."""
    quorum = {"broker_native_delayed_delivery_queue_type": "quorum"} if amqp else {}
    settings_file.write_text(json.dumps({"app": "shop:app", "settings": PLAN | quorum}))
    by_hand = constructor()
    producer.configure(by_hand)
    monkeypatch.setenv("CELERY_LOADER", "celeryops_runtime.loader:Producer")
    for app in (by_hand, constructor()):
        assert app.amqp.queues["critical"].no_declare is amqp
    monkeypatch.setenv("CELERY_LOADER", loader.NAME)
    assert constructor().amqp.queues["critical"].no_declare is False, "a worker declares what it consumes"


@pytest.mark.usefixtures("settings_file")
def test_a_worker_gives_them_to_an_app_with_a_loader_of_its_own(hosted: Path) -> None:
    app = Celery("x", loader="app")
    assert app.conf.task_acks_late is False
    settings.install(app, settings.read({"CELERYOPS_SETTINGS": str(hosted)}))
    settings.install(app, settings.read({"CELERYOPS_SETTINGS": str(hosted)}))
    assert app.conf.task_acks_late is True
    assert sum(isinstance(layer, settings.Shared) for layer in app.conf.maps) == 1


@pytest.mark.usefixtures("hosted")
def test_the_apps_own_receivers_already_see_them() -> None:
    app, seen = Celery("x"), []

    def receiver(sender: Any, **_: Any) -> None:
        seen.append(sender.conf.task_acks_late)

    app.on_after_configure.connect(receiver)

    assert app.conf.task_acks_late
    assert seen == [True]


@pytest.mark.usefixtures("hosted")
def test_a_child_that_starts_anew_gets_them_too() -> None:
    app = Celery("x", task_acks_late=False)
    assert app.conf.task_acks_late
    child = pickle.loads(pickle.dumps(app))  # noqa: S301 what a spawned pool child does
    assert child.conf.task_acks_late is True
    assert child.conf.broker_url == BROKER


@pytest.mark.parametrize(
    "routes",
    [
        {"shop.report": {"queue": "bulk", "routing_key": "report.import", "exchange": "reports"}},
        ([("shop.report", {"queue": "bulk", "routing_key": "report.import"})],),
        [{"shop.*": {"queue": "bulk", "routing_key": "report.import"}}],
    ],
)
def test_a_route_to_a_queue_goes_by_the_queues_own_exchange_and_key(hosted: Path, routes: Any) -> None:
    hosted.write_text(json.dumps({"settings": {**PLAN, "task_create_missing_queues": True}}))
    app = Celery("x", task_routes=routes)
    route = app.amqp.router.route({}, "shop.report")
    assert route["queue"].name == "bulk"
    assert not {"routing_key", "exchange"} & set(route), "nothing is bound to such a key"


def test_the_plans_routes_come_first_and_the_apps_own_after(hosted: Path) -> None:
    routes = {"task_routes": {"shop.charge": {"queue": "critical"}}}
    hosted.write_text(json.dumps({"settings": {**PLAN, "task_create_missing_queues": True, **routes}}))
    app = Celery("x", task_routes={"shop.charge": {"queue": "wrong"}, "shop.report": {"queue": "bulk"}})

    route = app.amqp.router.route

    assert route({}, "shop.charge")["queue"].name == "critical"
    assert route({}, "shop.report")["queue"].name == "bulk"
    assert route({}, "shop.other")["queue"].name == "critical"


@pytest.mark.usefixtures("hosted")
def test_what_does_not_apply_is_named() -> None:
    app = Celery("x", broker="redis://wrong", task_acks_late=False, task_serializer="json", worker_concurrency=3)
    assert settings.replaced(app) == ["broker_url", "task_acks_late"]
    assert settings.replaced(Celery("y", loader="app")) == []


LIMITS = {"task_time_limit": None, "task_soft_time_limit": None}


@pytest.mark.parametrize("loaded_early", [False, True])
def test_a_limit_in_the_apps_settings_gives_way_to_the_workers(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch, loaded_early: bool
) -> None:
    """In Celery's Django tutorial it stands in settings.py, and every message would carry it."""
    settings_file.write_text(json.dumps({"settings": {**PLAN, **LIMITS}}))
    if not loaded_early:
        monkeypatch.setenv("CELERY_LOADER", loader.NAME)
    app = Celery("x", set_as_current=False)
    app.config_from_object(SimpleNamespace(CELERY_TASK_TIME_LIMIT=1800), namespace="CELERY")
    task = app.task(name="shop.plain")(run)
    own = app.task(name="shop.own", time_limit=60)(run)
    assert own.time_limit == 60
    assert task._get_exec_options()["time_limit"] == (1800 if loaded_early else None)

    producer.configure(app)

    assert task._get_exec_options()["time_limit"] is None
    assert own._get_exec_options()["time_limit"] == 60
    assert settings.replaced(app) == ["task_time_limit"], "said once"


@pytest.mark.parametrize("annotations", [{"*": {"acks_late": False, "rate_limit": "9/s"}}, [{"*": {}}, {"x": {}}]])
def test_annotations_do_not_change_acknowledgement(hosted: Path, annotations: Any) -> None:
    listed = annotations if isinstance(annotations, list) else [annotations]
    for each in listed:
        next(iter(each.values())).update(acks_late=False, reject_on_worker_lost=False, acks_on_timeout=False)
    hosted.write_text(json.dumps({"settings": {**PLAN, "task_reject_on_worker_lost": True}}))
    app = Celery("x", set_as_current=False, task_annotations=annotations)
    task = app.task(name="x")(run)
    own = app.task(name="own", acks_late=False)(run)
    assert (task.acks_late, task.reject_on_worker_lost, task.acks_on_timeout) == (True, True, True)
    assert task.rate_limit == ("9/s" if isinstance(annotations, dict) else None)
    assert own.acks_late is False, "what a task says itself counts"
    assert settings.replaced(app) == ["task_annotations", "task_reject_on_worker_lost"][:1]


@pytest.mark.usefixtures("hosted")
def test_the_parts_of_another_broker_do_not_count() -> None:
    app = Celery("x", broker_transport="redis", broker_host="wrong", broker_port=1, broker_vhost="wrong")
    assert app.connection_for_write().as_uri(include_password=True) == BROKER
    assert "broker_transport" in settings.replaced(app)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object, not a list"),
        ("{}", "under the key settings"),
        ('{"settings": {"task_queues": [{"nam": "x"}]}}', "must have a name and no keys but"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence(tmp_path: Path, content: str | None, sentence: str) -> None:
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=sentence):
        settings.read({}, path)


def test_nothing_given_changes_nothing() -> None:
    assert settings.read({}) == {}


def test_sentinels_are_asked_with_the_login_of_the_url(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    named = {"master_name": "celery", "socket_timeout": 5, "sentinel_kwargs": {"socket_timeout": 1, "ssl": True}}
    options = {"broker_transport_options": named, "result_backend_transport_options": {"socket_timeout": 5}}
    file.write_text(json.dumps({"settings": options}), encoding="utf-8")
    environ = {
        "CELERY_BROKER_URL": "sentinel://me:p%40ss@10.0.0.1:26379/0;sentinel://me:p%40ss@10.0.0.2:26379/0",
        "CELERY_RESULT_BACKEND": "redis://r:s@10.0.0.3/1",
    }
    shared = settings.read(environ, file)
    login = shared["broker_transport_options"]["sentinel_kwargs"]
    assert login == {"username": "me", "password": "p@ss", "socket_timeout": 1, "ssl": True}
    assert shared["broker_transport_options"]["socket_timeout"] == 5
    assert shared["result_backend_transport_options"] == {"socket_timeout": 5}
    assert "username" not in settings.read({}, file)["broker_transport_options"]["sentinel_kwargs"]
    app = Celery("x", broker="sentinel://me:its-own@10.0.0.1:26379/0", set_as_current=False)
    producer.configure(app, file)
    assert app.conf.broker_transport_options["sentinel_kwargs"]["password"] == "its-own"
