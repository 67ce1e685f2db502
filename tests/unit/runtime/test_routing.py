# SPDX-License-Identifier: GPL-3.0-or-later
"""Of a route only the queue counts, whichever way it is given."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import Celery, beat
from celeryops_runtime import producer, routing
from kombu import Exchange, Queue
from kombu.transport.memory import Channel, Transport

MEDIA = Exchange("media", type="topic")
KEY = "media.video"
NAMES = ("default", "critical", "bulk")


def run() -> None: ...


WAY: dict[str, Callable[[Celery, Any], Any]] = {
    "apply_async": lambda _app, task: task.apply_async(queue="critical", routing_key=KEY),
    "apply_async with an exchange": lambda _app, task: task.apply_async(
        queue="critical", exchange=MEDIA, exchange_type="topic", routing_key=KEY
    ),
    "apply_async with a queue as an object": lambda _app, task: task.apply_async(
        queue=Queue("critical", MEDIA, routing_key="media.#")
    ),
    "apply_async with the queue's key alone": lambda _app, task: task.apply_async(routing_key="critical"),
    "apply_async with a key of the application's": lambda _app, task: task.apply_async(routing_key=KEY),
    "apply_async with exchange and key": lambda _app, task: task.apply_async(exchange="media", routing_key=KEY),
    "apply_async with an exchange alone": lambda _app, task: task.apply_async(exchange="media"),
    "send_task": lambda app, task: app.send_task(task.name, queue="critical", routing_key=KEY),
    "signature": lambda _app, task: task.s().set(queue="critical", routing_key=KEY).delay(),
    "retry, as its message came": lambda _app, task: task.apply_async(
        **{"exchange": "celery.tasks", "routing_key": "critical", "queue": None}
    ),
    "retry, as a delayed message came": lambda _app, task: task.apply_async(
        exchange="celery_delayed_delivery", routing_key="0." * 27 + "1.critical"
    ),
    "an entry of beat, or a row": lambda app, task: beat.Scheduler(app, schedule={}).apply_async(
        beat.ScheduleEntry(
            name="entry", task=task.name, schedule=9, app=app, options={"queue": "critical", "routing_key": KEY}
        ),
        advance=False,
    ),
    "a row of another task, with a key alone": lambda app, _task: beat.Scheduler(app, schedule={}).apply_async(
        beat.ScheduleEntry(name="entry", task="elsewhere", schedule=9, app=app, options={"routing_key": "critical"}),
        advance=False,
    ),
}
ROUTED: dict[str, Any] = {
    "function": lambda name, args, kwargs, options, task=None, **kw: {"queue": "critical", "routing_key": KEY},
    "function that names no queue": lambda *args, **kw: {"exchange": "media", "routing_key": KEY},
    "function that names the queue alone": lambda *args, **kw: "critical",
    "map": {"shop.*": {"queue": "critical", "routing_key": KEY, "exchange": "media"}},
    "map without a queue": {"shop.*": {"routing_key": KEY}},
    "list": ([("shop.task", {"queue": "critical", "routing_key": KEY})],),
}
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "queue and key": {"queue": "critical", "routing_key": "media.image"},
    "key": {"routing_key": "media.image"},
    "exchange and key": {"exchange": "media", "exchange_type": "topic", "routing_key": "media.image"},
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Celery]:
    """An application under the plan, on a broker in this process."""
    for name in ("CELERY_LOADER", "CELERY_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Transport, "global_state", type(Transport.global_state)())
    monkeypatch.setattr(Channel, "queues", {})
    queues = [{"name": n, "exchange": "celery.tasks", "exchange_type": "topic", "routing_key": n} for n in NAMES]
    plan = {"task_queues": queues, "task_default_queue": "default", "task_default_routing_key": "default"}
    more = {"task_default_exchange": "celery.tasks", "task_create_missing_queues": False}
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"settings": {**plan, **more}}))

    def made(**own: Any) -> Celery:
        app = Celery("shop", broker="memory://", set_as_current=False)
        app.conf.task_queues = [Queue("default"), Queue("critical", MEDIA, routing_key="media.#")]
        app.conf.update(own)
        producer.configure(app, file)
        with app.connection_for_write() as connection:
            for queue in app.amqp.queues.values():
                queue(connection.default_channel).declare()
        return app

    return made


def arrived(app: Celery) -> list[str]:
    """The queues with a message."""
    with app.connection_for_read() as connection:
        return [n for n in NAMES if app.amqp.queues[n](connection.default_channel).get(no_ack=True)]


@pytest.mark.parametrize("way", WAY)
def test_a_call_reaches_its_queue(make: Callable[..., Celery], way: str) -> None:
    app = make()
    WAY[way](app, app.task(name="shop.task")(run))
    assert arrived(app) == ["critical"]


@pytest.mark.parametrize("way", WAY)
def test_what_a_call_says_wins(make: Callable[..., Celery], way: str) -> None:
    app = make(task_routes={"*": {"queue": "bulk", "routing_key": "bulk.x"}})
    WAY[way](app, app.task(name="shop.task")(run))
    assert arrived(app) == ["critical"]


@pytest.mark.parametrize("way", ROUTED)
def test_a_route_leads_to_its_queue(make: Callable[..., Celery], way: str) -> None:
    app = make(task_routes=ROUTED[way])
    app.task(name="shop.task")(run).delay()
    assert arrived(app) == ["critical"]


@pytest.mark.filterwarnings("ignore:(?s).*task attribute is deprecated")  # and works until Celery 6
@pytest.mark.parametrize("way", ATTRIBUTES)
def test_a_task_has_its_queue(make: Callable[..., Celery], way: str) -> None:
    app = make()
    app.task(name="shop.task", **ATTRIBUTES[way])(run).delay()
    app.send_task("shop.task")
    assert arrived(app) == ["critical"]


def test_a_key_that_leads_nowhere_leaves_the_task_its_queue(make: Callable[..., Celery]) -> None:
    app = make(task_routes={"shop.routed": "bulk"})
    app.task(name="shop.task")(run).apply_async(routing_key="no.such.key")
    app.task(name="shop.routed")(run).apply_async(exchange="nowhere", routing_key="no.such.key")
    assert arrived(app) == ["default", "bulk"]


def test_the_queue_of_a_retry_is_that_of_its_message(make: Callable[..., Celery]) -> None:
    """Celery delays a message by its queue's key, and asks the router for that queue."""
    app = make()
    route = app.amqp.router.route({"exchange": "celery.tasks", "routing_key": "critical"}, "shop.task")
    assert route["queue"].name == "critical"


def test_without_the_plan_nothing_changes(make: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch) -> None:
    app = make()
    monkeypatch.setitem(sys.modules, "theirs", ModuleType("theirs"))
    theirs = Celery("theirs", broker="memory://", set_as_current=False)
    options = {"queue": "celery", "routing_key": KEY}
    assert theirs.amqp.router.route(dict(options), "x")["routing_key"] == KEY
    assert app.amqp.router.route({**options, "queue": "bulk"}, "x").keys() == {"queue"}


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("media.#", "media.video", True),
        ("media.#", "media", True),
        ("media.#", "media.video.hd", True),
        ("media.#", "mediator.video", False),
        ("#.critical", "critical", True),
        ("#.critical", "a.b.critical", True),
        ("*.video", "media.video", True),
        ("*.video", "video", False),
        ("*", "a.b", False),
        ("#", "", True),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "ab", False),
        ("a+b", "aab", False),
    ],
)
def test_patterns_of_topic_exchanges(pattern: str, key: str, expected: bool) -> None:
    assert routing.matches(pattern, key) is expected
