# SPDX-License-Identifier: GPL-3.0-or-later
"""The example is clean as it is deployed; with a practice violated it is refused, or the violation is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.celeryops.stack.plugins.module_utils.plan import make_plan
from auditing.cases import collect
from celeryops_audit import registry, sources
from celeryops_audit.facts import App, Plan
from celeryops_audit.registry import Audit, Finding

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples/shop"
DECLARED = yaml.safe_load((ROOT / "inventories/demo/group_vars/all/main.yml").read_text())
PLAN = make_plan({name: DECLARED[name] for name in ("celery_app", "celery_workers")})
#: The same with Redis, whose visibility time-out is far below the longest limit: the workers prolong it.
ON_REDIS = make_plan({"celery_broker": "redis", **{name: DECLARED[name] for name in ("celery_app", "celery_workers")}})
#: The application alone, as its author runs it.
ALONE = {"BROKER_URL": "amqp://shop@localhost", "RESULT_BACKEND": "redis://localhost"}


@dataclass(frozen=True, eq=False)
class Violation:
    """A practice, and what is appended to the shop to violate it."""

    practice: int
    check: str
    append: str = ""
    refused: bool = True
    file: str = "tasks.py"
    alone: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)


def task(options: str, body: str = "return order_id") -> str:
    return f"\n\n@app.task(bind=True, base=ReliableTask, {options})\ndef violate(self, order_id):\n    {body}\n"


def setting(text: str, **more: Any) -> dict[str, Any]:
    return {"append": f"\napp.conf.{text}\n", "file": "celery.py", **more}


NO_LIMIT = {**PLAN["audit"]["workers"]["default"], "soft_time_limit": None, "time_limit": None}
LIMITLESS = {"workers": {**PLAN["audit"]["workers"], "default": NO_LIMIT}}
VIOLATIONS = [
    Violation(1, "broker-forbidden", alone=True, environ={"BROKER_URL": "sqla+sqlite:///shop.sqlite3"}),
    Violation(1, "broker-forbidden", alone=True, environ={"BROKER_URL": "memory://"}),
    Violation(2, "pickle-accepted", alone=True, **setting("accept_content = ['json', 'pickle']")),
    Violation(2, "pickle-used", task("serializer='pickle'")),
    Violation(
        2,
        "model-parameter",
        "\n\nclass Order:\n    __mapper__ = None\n\n\n@app.task\ndef violate(order: Order):\n    return order\n",
        refused=False,
    ),
    Violation(
        2,
        "model-at-call-site",
        "\n\ndef view(request):\n    charge_order.delay(request.user)\n",
        refused=False,
    ),
    Violation(3, "waits-for-task", task("max_retries=1", "return index_order.delay(order_id).get()"), refused=False),
    Violation(4, "acks-late-undeclared", task("idempotent=None"), refused=False),
    Violation(4, "acks-late-not-idempotent", task("idempotent=False")),
    Violation(
        5,
        "dispatch-in-transaction",
        "\n\ndef place(session):\n    with session.begin():\n        charge_order.delay('order')\n",
        refused=False,
    ),
    Violation(7, "retry-unbounded", task("autoretry_for=(OSError,), retry_backoff=True, max_retries=None")),
    Violation(7, "retry-unbounded", task("max_retries=None", "raise self.retry(countdown=9)")),
    Violation(8, "retry-by-hand-without-backoff", task("max_retries=3", "raise self.retry()"), refused=False),
    Violation(
        8, "retry-without-jitter", task("autoretry_for=(OSError,), retry_backoff=1, retry_jitter=False"), refused=False
    ),
    Violation(9, "retry-on-everything", task("autoretry_for=(Exception,), retry_backoff=True"), refused=False),
    Violation(10, "retry-without-backoff", task("autoretry_for=(OSError,)"), refused=False),
    Violation(11, "acks-late-without-worker-lost", task("reject_on_worker_lost=False"), refused=False),
    Violation(11, "no-publisher-confirms", alone=True, refused=False),
    Violation(12, "no-hard-limit", task("soft_time_limit=None, time_limit=None"), plan=LIMITLESS),
    Violation(12, "soft-limit-not-below-hard", task("soft_time_limit=60, time_limit=60")),
    Violation(12, "stop-timeout-below-limit", task("soft_time_limit=840, time_limit=900")),
    Violation(
        12,
        "soft-limit-swallowed",
        task("max_retries=1", "try:\n        store.order(order_id)\n    except Exception:\n        return None"),
        refused=False,
    ),
    Violation(13, "route-to-undeclared-queue", task("queue='critcal'")),
    Violation(
        13,
        "route-without-consumer",
        plan={"workers": {name: PLAN["audit"]["workers"][name] for name in ("default", "bulk")}},
    ),
    Violation(13, "queue-not-declared", plan={"workers": {**PLAN["audit"]["workers"], "mail": {"queues": ["mail"]}}}),
    Violation(15, "chord-without-backend", alone=True, environ={"RESULT_BACKEND": "disabled://"}),
    Violation(16, "print-in-task", task("max_retries=1", "print(order_id)"), refused=False),
    Violation(
        16,
        "plain-logger",
        task("max_retries=1", "logging.info(order_id)").replace("\n\n", "\n\nimport logging\n\n", 1),
        refused=False,
    ),
    Violation(
        17,
        "sentry-dsn-without-client",
        "\nimport sys\n\nsys.modules['sentry_sdk'] = None\n",
        plan={"sentry": True},
    ),
    Violation(19, "task-always-eager", **setting("task_always_eager = True")),
]


def copy_of_the_shop(to: Path, violation: Violation | None) -> Path:
    shutil.copytree(SHOP / "shop", to / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    if violation and violation.append:
        with (to / "shop" / violation.file).open("a") as file:
            file.write(violation.append)
    return to


def environ(violation: Violation | None, settings: Path) -> dict[str, str]:
    if violation and violation.alone:
        return {**ALONE, **violation.environ}
    return {
        "CELERY_LOADER": "celeryops_runtime.loader:Loader",
        "CELERYOPS_SETTINGS": str(settings),
        "CELERY_BROKER_URL": "amqp://celery@localhost/celery",
        "CELERY_RESULT_BACKEND": "redis://results@localhost/1",
    }


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[Violation | None, list[Finding]]:
    """What is found in the shop as it is, and with each violation."""
    folder = tmp_path_factory.mktemp("shops")
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"settings": PLAN["settings"]}))
    every = [None, *VIOLATIONS]
    shops = [copy_of_the_shop(folder / str(number), violation) for number, violation in enumerate(every)]
    wanted = [
        {"folder": str(shop), "app": "shop.celery:app", "environ": environ(violation, settings)}
        for shop, violation in zip(shops, every, strict=True)
    ]
    found: dict[Violation | None, list[Finding]] = {}
    for violation, app in zip(every, collect(wanted), strict=True):
        assert isinstance(app, App), app
        plan = Plan.of({"sentry": True, **PLAN["audit"], **(violation.plan if violation else {})})
        # Alone means: without a deployment.
        audit = Audit(app, None if violation and violation.alone else plan, None, sources.read(app))
        found[violation] = registry.run(audit)
    return found


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda each: f"{each.practice}-{each.check}")
def test_a_violated_practice_is_refused_or_named(
    violation: Violation, answers: dict[Violation | None, list[Finding]]
) -> None:
    found = [each for each in answers[violation] if each.check == violation.check and not each.unknown]
    assert found
    assert any(each.blocks for each in found) == violation.refused
    assert registry.every_check()[violation.check].practice == violation.practice


def test_the_example_is_clean_on_redis(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"settings": ON_REDIS["settings"]}))
    shop = copy_of_the_shop(tmp_path / "shop", None)
    urls = {"CELERY_BROKER_URL": "redis://celery@localhost/0"}
    (app,) = collect([{"folder": str(shop), "app": "shop.celery:app", "environ": environ(None, settings) | urls}])
    assert isinstance(app, App), app
    assert app.transport["visibility_timeout"] < 900
    audit = Audit(app, Plan.of(ON_REDIS["audit"]), None, sources.read(app))
    assert [each.sentence for each in registry.run(audit) if not each.unknown] == []


def test_the_example_is_clean(answers: dict[Violation | None, list[Finding]]) -> None:
    assert [each.sentence for each in answers[None] if not each.unknown] == []


def test_of_the_example_only_the_broker_is_not_known(answers: dict[Violation | None, list[Finding]]) -> None:
    assert {each.check for each in answers[None]} == {"queue-arguments-differ"}
