# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker answers holds none of the secrets that it was given, whatever a setting or a reply is called."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from celery import Celery
from celery.utils.collections import AttributeDict
from celery.worker.control import Panel
from celeryops_runtime import masking
from celeryops_runtime.masking import MASK

from .conftest import Host
from .test_worker import Stop, start_worker

PASSWORD = "br0ker/p@ss 'word'"
BROKER = "amqp://celery:br0ker%2Fp%40ss%20%27word%27@10.0.0.1:5672/celery;amqp://celery:second-one@10.0.0.2:5672/celery"
SECRETS = {"DATABASE_URL": "postgres://shop:db-pa55word@db/shop", "PIN": "0815", "TOKEN_OF_X": "tok\"en'of\\x"}
SETTINGS = SimpleNamespace(
    CELERY_BROKER_URL=BROKER,
    CELERY_RESULT_BACKEND="redis://:result-pa55@10.0.0.1:6379/0",
    CELERY_TASK_ANNOTATIONS={"*": {"note": f"with {PASSWORD}"}},
    CACHES={
        "default": {"LOCATION": ["redis://:somebody-elses@10.0.0.3:6379/1", "rediss://h/0?password=in-query&db=1"]}
    },
    DATABASE_LABEL="db-pa55word",
    DOOR="0815",
    ORDERS="order 0815",
    HANDLERS=(SimpleNamespace(token=SECRETS["TOKEN_OF_X"]),),
    NOTE=json.dumps({"x": SECRETS["TOKEN_OF_X"]}),
    LIBPQ=f"host=db {quote(PASSWORD)}",
    SITE_URL="https://shop.example.org/orders?page=2",
)
FORMS = ("br0ker", "second-one", "result-pa55", "somebody-elses", "in-query", "db-pa55word", "of\\x", "of\\\\x")


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a worker would send as its answer."""
    content = {
        "broker_url": BROKER,
        "result_backend": SETTINGS.CELERY_RESULT_BACKEND,
        "environment": {**SECRETS, "LEVEL": "shop.example.org"},
        "secret": sorted(SECRETS),
    }
    (tmp_path / "celery_celery.json").write_text(json.dumps(content))
    app = Celery("x", set_as_current=False)
    app.config_from_object(SETTINGS, namespace="CELERY")
    masking.install(app, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    sent: list[Any] = []
    mailbox = app.control.mailbox
    monkeypatch.setattr(mailbox, "_publish_reply", lambda reply, *_, **__: sent.append(reply))
    node = mailbox.Node("w@h", handlers=Panel.data, state=AttributeDict(app=app, hostname="w@h", tset=set))

    def answer(command: str) -> Any:
        node.dispatch(command, reply_to={"exchange": "", "routing_key": ""})
        return sent.pop()["w@h"]

    return answer


@pytest.mark.parametrize("command", ["conf", "report"])
def test_no_secret_is_in_an_answer(ask: Any, command: str) -> None:
    said = json.dumps(ask(command))

    assert MASK in said
    assert not [form for form in FORMS if form in said or json.dumps(form)[1:-1] in said], said


def test_what_is_no_secret_is_shown(ask: Any) -> None:
    conf = ask("conf")

    assert (
        conf["CELERY_BROKER_URL"]
        == f"amqp://celery:{MASK}@10.0.0.1:5672/celery;amqp://celery:{MASK}@10.0.0.2:5672/celery"
    )
    assert conf["CACHES"]["default"]["LOCATION"] == [
        f"redis://:{MASK}@10.0.0.3:6379/1",
        f"rediss://h/0?password={MASK}&db=1",
    ]
    assert (conf["DATABASE_LABEL"], conf["DOOR"], conf["ORDERS"]) == (MASK, MASK, "order 0815")
    assert conf["SITE_URL"] == SETTINGS.SITE_URL, "and what of the environment is not secret"


def test_a_command_of_the_applications_own_is_masked_too(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"numbers": [1, None, 2.5, True], "db-pa55word": ({"db-pa55word"}, "a")}
    monkeypatch.setitem(Panel.data, "own", lambda state: answers)

    assert ask("own") == {"numbers": [1, None, 2.5, True], MASK: [[MASK], "a"]}


def test_workers_answer_that_way(host: Host, stop: Stop) -> None:
    host.credential(
        "celery",
        broker_url="filesystem://",
        environment={"SHOP_SECRET": "s3cret", "SHOP_COLOUR": "yellow"},
        secret=["SHOP_SECRET"],
    )
    with (host.path / "shop.py").open("a") as code:
        code.write('app.conf.update(shop_word="so s3cret", shop_colour="yellow")\n')
    worker = start_worker(host)

    conf = json.loads(host.python("from shop import *; import json; print(json.dumps(app.control.inspect().conf()))"))

    assert conf["critical-1@here"]["shop_word"] == f"so {MASK}"
    assert conf["critical-1@here"]["shop_colour"] == "yellow"
    assert stop(worker) == 0
