# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that would undo the plan do not apply, wherever they come from, and the inventory may not set them."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import celery_names
from ansible_collections.celeryops.stack.plugins.module_utils import plan as planning
from ansible_collections.celeryops.stack.plugins.module_utils.rules import celery as rules
from celery import Celery
from celery.app.defaults import DEFAULTS
from celeryops_runtime import environment, settings

from .conftest import Host
from .test_worker import RUN, start_worker

DECLARED = {"celery_app": "a:b", "celery_workers": {"default": {}}}
UNDOING = {
    "REMAP_SIGTERM": "SIGQUIT",
    "CELERY_WORKER_CONCURRENCY": "7",
    "CELERY_WORKER_EXCLUDE_QUEUES": "critical",
    "CELERY_WORKER_PURGE": "1",
    "CELERY_WORKER_MAX_TASKS_PER_CHILD": "1",
    "CELERY_BEAT_SCHEDULER": "nowhere:Scheduler",
    "FORKED_BY_MULTIPROCESSING": "1",
    "LOADER": "default",
    "CELERY_BROKER_READ_URL": "amqp://wrong",
    "CELERY_BROKER_WRITE_URL": "amqp://wrong",
}


@pytest.mark.parametrize("by", ["the environment", "a secret", "the application"])
def test_a_worker_consumes_and_stops_as_planned(
    host: Host, stop: Callable[[subprocess.Popen[str]], int], by: str
) -> None:
    given = UNDOING if by == "the environment" else {}
    if by == "a secret":
        host.credential(
            "celery", broker_url="filesystem://", result_backend=f"file://{host.path}/results", environment=UNDOING
        )
    if by == "the application":
        shop = host.path / "shop.py"
        shop.write_text(f"import os\nos.environ.update({UNDOING})\n{shop.read_text()}")

    worker = start_worker(host, **given)
    sender = host.start("exec", "--", "python", "-c", RUN.format("block", 2, ", interval=0.1"), **given)
    while "Task shop.block" not in host.log:
        assert sender.poll() is None, host.log
        time.sleep(0.02)

    assert stop(worker) == 0
    assert sender.wait(timeout=20) == 0, host.log
    assert '"done"' in host.log, "a cold stop would have killed it"
    if by != "the application":
        said = "these variables would undo the plan and do not apply: CELERY_BEAT_SCHEDULER, CELERY_WORKER_CONCURRENCY"
        assert host.log.count(said) == 2, "once a process"


@pytest.mark.parametrize("name", [*UNDOING, "CELERY_WORKER_X", "CELERY_LOADER", "NOTIFY_SOCKET", "WATCHDOG_USEC"])
@pytest.mark.parametrize("variable", ["celery_environment", "celery_secret_environment"])
def test_the_inventory_may_not_set_them(name: str, variable: str) -> None:
    found = rules.problems({**DECLARED, variable: {name: "s3cret-pw"}})
    assert len(found) == 1
    assert re.search(rf"^{variable}\.{name} would .*; (write|remove)", found[0])
    assert "s3cret-pw" not in found[0]


@pytest.mark.parametrize("name", ["CELERY_WORKER_REVOKES_MAX", "CELERY_TASK_X", "MY_LOADER", "DJANGO_SETTINGS_MODULE"])
def test_others_may_be_set(name: str) -> None:
    given = {**DECLARED, "celery_environment": {name: "1"}}
    assert rules.problems(given) == []
    assert environment.undoing([name]) == []


@pytest.mark.parametrize("name", ["CELERY_RESULT_BACKEND", "RESULT_BACKEND"])
@pytest.mark.parametrize(("backend", "allowed"), [("redis", False), ("none", False), ("application", True)])
def test_only_an_application_with_results_of_its_own_is_told_where_they_are(
    name: str, backend: str, allowed: bool
) -> None:
    given = {**DECLARED, "celery_result_backend": backend, "celery_secret_environment": {name: "db+sqlite:///x"}}
    found = rules.problems(given)
    assert bool(found) != allowed
    assert all("write celery_result_backend" in sentence for sentence in found)


def test_what_a_host_takes_away_the_inventory_may_not_set() -> None:
    for name in environment.undoing(UNDOING):
        assert any(re.fullmatch(names, name) for names in rules.UNDOING)


def test_the_names_are_celerys_own() -> None:
    assert frozenset(DEFAULTS) == celery_names.NAMES
    assert set(celery_names.ACKNOWLEDGEMENT) == settings.ACKNOWLEDGEMENT


def test_what_an_application_may_not_change_is_as_celery_has_it() -> None:
    neutral = planning.NEUTRAL | planning.NEUTRAL_RABBITMQ
    assert neutral == {name: DEFAULTS[name] for name in neutral}
    assert neutral.items() <= planning.make_plan(DECLARED)["settings"].items()


def test_workers_do_not_share_the_file_of_revoked_tasks_that_an_application_names() -> None:
    app = Celery("x", broker="memory://", set_as_current=False)
    app.conf.worker_state_db = "/nowhere/celery.state"
    settings.install(app, settings.made(planning.make_plan(DECLARED)["settings"], {}))
    assert app.WorkController(app=app).statedb is None
    assert rules.problems({**DECLARED, "celery_settings": {"worker_state_db": "/nowhere/celery.state"}})


def test_what_an_application_says_of_the_tls_of_others_does_not_count() -> None:
    plan = planning.make_plan(DECLARED)
    urls = {"CELERY_BROKER_URL": plan["broker"]["url"], "CELERY_RESULT_BACKEND": plan["result_backend"]["url"]}
    app = Celery("x", set_as_current=False)
    app.conf.update(broker_use_ssl={"ssl_cert_reqs": None}, redis_backend_use_ssl={"ssl_cert_reqs": None})
    settings.install(app, settings.made(plan["settings"], urls))
    assert not app.connection_for_write().ssl
    assert "ssl_cert_reqs" not in app.backend.connparams
    own = planning.make_plan({**DECLARED, "celery_result_backend": "application"})
    assert "redis_backend_use_ssl" not in own["settings"]


@pytest.mark.parametrize(
    ("home", "state", "given"),
    [
        ("{path}/hidden", "{path}/state:{path}/state/beat", "{path}/state"),
        ("", "{path}/state", "{path}/state"),
        ("{path}", "{path}/state", "{path}"),
        ("{path}/hidden", "", "{path}/hidden"),
    ],
)
def test_a_home_that_nobody_may_enter_is_replaced(tmp_path: Path, home: str, state: str, given: str) -> None:
    environ = {"HOME": home.format(path=tmp_path), "STATE_DIRECTORY": state.format(path=tmp_path)}
    environment.give_home(environ)
    assert environ["HOME"] == given.format(path=tmp_path)


def test_a_process_of_the_application_has_it(host: Host) -> None:
    show = "import os; print('home is', os.environ['HOME'])"
    process = host.start("exec", "--", "python", "-c", show, HOME="/nowhere", STATE_DIRECTORY=str(host.path))
    assert process.wait(timeout=20) == 0, host.log
    assert f"home is {host.path}" in host.log
