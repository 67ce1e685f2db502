# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared on a broker that somebody else runs, and what is said where it cannot be."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, NotAllowed, NotFound, PreconditionFailed
from celeryops_runtime import objects
from celeryops_runtime.errors import ConfigurationError

FLAGS: dict[str, Any] = {"durable": True, "auto_delete": False}
WANTED = {
    "exchanges": [{"name": "celery.tasks", "type": "topic", "arguments": {}, **FLAGS}],
    "queues": [{"name": "default", "arguments": {"x-queue-type": "quorum"}, **FLAGS}],
    "bindings": [
        {
            "source": "celery.tasks",
            "destination": "default",
            "destination_type": "queue",
            "routing_key": "default",
            "arguments": {},
        }
    ],
}


class Broker:
    """Answers as RabbitMQ does: what exists, and what the user may not."""

    channel_errors = (AccessRefused, NotFound, PreconditionFailed)
    userid = "shop"
    words = "received '{wants}' but current is '{has}'"

    def __init__(self, *, there: dict[str, str], refuses: tuple[str, ...] = ()) -> None:
        self.there, self.refuses, self.bound = dict(there), refuses, []  # type: ignore[var-annotated]

    def channel(self) -> Any:
        return SimpleNamespace(
            exchange_declare=lambda name, kind, **more: self._declare("exchange", name, kind, **more),
            queue_declare=lambda name, **more: self._declare("queue", name, more["arguments"]["x-queue-type"], **more),
            queue_bind=self._bind,
            close=lambda: None,
        )

    def _declare(self, noun: str, name: str, kind: str, *, passive: bool = False, **_: Any) -> None:
        if passive:
            if name not in self.there:
                raise NotFound(f"no {noun} '{name}' in vhost 'shop'", (50, 10), "404")
            return
        if name in self.refuses:
            raise AccessRefused(f"access to {noun} '{name}' refused for user 'shop'", (50, 10), "403")
        if self.there.setdefault(name, kind) != kind:
            argument = "x-queue-type" if noun == "queue" else "type"
            raise PreconditionFailed(
                f"inequivalent arg '{argument}' for {noun} '{name}' in vhost 'shop': "
                + self.words.format(wants=kind, has=self.there[name]),
                (50, 10),
                "406",
            )

    def _bind(self, destination: str, source: str, key: str, **_: Any) -> None:
        if destination in self.refuses:
            raise AccessRefused(f"access to queue '{destination}' refused", (50, 20), "403")
        self.bound.append((source, destination, key))


def declared(broker: Broker, check: bool = False) -> objects.Objects:
    found = objects.Objects(broker, check)
    found.everything(WANTED)
    return found


def test_everything_is_declared_once() -> None:
    broker = Broker(there={})
    assert (declared(broker).made, declared(broker).made) == (["exchange celery.tasks", "queue default"], [])
    assert broker.there == {"celery.tasks": "topic", "default": "quorum"}
    assert set(broker.bound) == {("celery.tasks", "default", "default")}


def test_what_is_there_with_other_properties_gets_a_sentence() -> None:
    broker = Broker(there={"celery.tasks": "direct", "default": "classic"})
    exchange, queue = declared(broker).problems
    assert exchange.startswith(
        "The broker has the exchange celery.tasks with type direct instead of topic, which cannot"
    )
    assert queue.startswith(
        "The broker has the queue default with x-queue-type classic instead of quorum, which cannot"
    )
    assert "give this one another name in celery_workers" in queue
    assert broker.there == {"celery.tasks": "direct", "default": "classic"}


@pytest.mark.parametrize(
    ("words", "said"),
    [  # as RabbitMQ 4.0 and 3.10 put it
        ("received '{wants}' but current is '{has}'", "x-queue-type classic instead of quorum, which"),
        (
            "received the value '{wants}' of type 'longstr' but current is none",
            "x-queue-type classic instead of quorum, which",
        ),
        (
            "received none but current is the value 'quorum' of type 'longstr'",
            "x-queue-type quorum instead of classic, which",
        ),
    ],
)
def test_each_version_is_understood(words: str, said: str) -> None:
    broker = Broker(there={"celery.tasks": "topic", "default": "classic"})
    broker.words = words
    (queue,) = declared(broker).problems
    assert queue.startswith(f"The broker has the queue default with {said}")


def test_nothing_is_declared_beside_what_differs() -> None:
    broker = Broker(there={"default": "classic"})
    assert len(declared(broker).problems) == 1
    assert broker.there == {"default": "classic"}
    assert broker.bound == []


def test_a_user_that_may_not_declare_gets_a_sentence() -> None:
    broker = Broker(there={"celery.tasks": "topic"}, refuses=("default",))
    queue, binding = declared(broker).problems
    assert queue.startswith("The user shop may not declare the queue default (quorum, durable): have it allowed, or")
    assert "celery_broker_declare: false" in queue
    assert binding.startswith("The user shop may not declare the binding of default to celery.tasks by 'default'")


def test_a_look_declares_nothing() -> None:
    broker = Broker(there={"celery.tasks": "topic"}, refuses=("celery.tasks", "default"))
    (problem,) = declared(broker, check=True).problems
    assert problem.startswith("The broker has no queue default (quorum, durable): have it made by whoever runs")
    assert broker.there == {"celery.tasks": "topic"}
    assert broker.bound == []
    broker.there["default"] = "quorum"
    assert declared(broker, check=True).problems == []


def test_a_broker_that_is_not_there_gets_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", waited.append)
    (tmp_path / "settings.json").write_text(json.dumps({"app": "a:b", "settings": {}}))
    environ = {
        "CELERYOPS_SETTINGS": str(tmp_path / "settings.json"),
        "CELERY_BROKER_URL": "amqp://shop:s3cret-pw@127.0.0.1:1/shop",
    }
    with pytest.raises(ConfigurationError, match=r"The broker at 127\.0\.0\.1:1 does not answer \(") as error:
        objects.run(json.dumps({"objects": WANTED}), environ)
    assert "check the address in celery_broker" in str(error.value)
    assert "s3cret-pw" not in str(error.value)
    assert sum(waited) > 5, "one that restarts has time to come back"


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (AccessRefused("ACCESS_REFUSED - Login was refused."), "ACCESS_REFUSED - Login was refused"),
        (NotAllowed("NOT_ALLOWED - vhost shop not found", (10, 40)), "NOT_ALLOWED - vhost shop not found"),
    ],
)
def test_who_is_not_let_in_is_told_at_once(
    refusal: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the settings that are about to be written, too: those on the host are others."""
    asked: list[Any] = []

    def refuse(transport: Any) -> None:
        asked.append(transport.client)
        raise refusal

    monkeypatch.setattr("kombu.transport.pyamqp.Transport.establish_connection", refuse)
    planned = {"settings": {"broker_login_method": "PLAIN"}, "broker_url": "amqp://shop:s3cret-pw@127.0.0.1/shop"}
    with pytest.raises(ConfigurationError) as error:
        objects.run(json.dumps({"objects": WANTED, **planned}), {"CELERYOPS_SETTINGS": str(tmp_path / "nowhere")})
    assert str(error.value) == (
        f"The broker at 127.0.0.1:5672 does not let shop into 'shop' ({reason}): check the user and the virtual host "
        "in celery_broker, and celery_broker_password."
    )
    assert len(asked) == 1, "asking again locks a user out"
