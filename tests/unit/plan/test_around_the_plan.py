# SPDX-License-Identifier: GPL-3.0-or-later
"""Topology, unit files and tables: what stands between the plan and the roles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.celeryops.stack.plugins.module_utils.plan import make_plan
from ansible_collections.celeryops.stack.plugins.module_utils.rules import app, beat, celery, worker
from ansible_collections.celeryops.stack.plugins.module_utils.tables import plan_table, producer_settings, table
from ansible_collections.celeryops.stack.plugins.module_utils.topology import address_of, make_topology, services_of
from ansible_collections.celeryops.stack.plugins.module_utils.units import as_texts, each_file, unit_lines, watching
from jinja2 import Template

ROOT = Path(__file__).parents[3]
WORKERS = {"default": {"concurrency": 2, "memory_max": "1G"}}


def test_a_machine_alone_speaks_over_loopback() -> None:
    topology = make_topology({"broker": ["a"], "worker": ["a"]}, {"a": {"celery_address": "10.0.0.1"}})
    assert topology["broker"] == topology["worker"] == [{"name": "a", "address": "127.0.0.1"}]
    assert topology["beat"] == []


def test_addresses_of_several_machines() -> None:
    hostvars: dict[str, dict[str, Any]] = {
        "a": {"celery_address": "10.0.0.1", "ansible_host": "192.0.2.1"},
        "b": {"ansible_facts": {"default_ipv4": {"address": "10.0.0.2"}}, "ansible_host": "192.0.2.2"},
    }
    topology = make_topology({"broker": ["a"], "worker": ["b"]}, hostvars)
    assert topology["broker"] == [{"name": "a", "address": "10.0.0.1"}]
    assert topology["worker"] == [{"name": "b", "address": "10.0.0.2"}]
    assert topology["problems"] == []
    assert address_of(topology, "b") == "10.0.0.2"
    assert address_of(topology, "stranger") == "127.0.0.1"
    assert address_of({}, "a") == "127.0.0.1"


def test_workers_are_declared_once_for_all_hosts() -> None:
    hostvars: dict[str, dict[str, Any]] = {"a": {"celery_workers": WORKERS}, "b": {"celery_workers": {}}}
    problems = make_topology({"broker": ["a"], "worker": ["b"]}, hostvars)["problems"]
    assert any("celery_workers differs between hosts" in problem for problem in problems)


def test_a_host_that_nobody_could_reach_is_refused_by_the_plan() -> None:
    hostvars: dict[str, dict[str, Any]] = {"a": {"celery_address": "10.0.0.1"}, "b": {"ansible_host": "192.0.2.3"}}
    topology = make_topology({"broker": ["a"], "backend": ["a"], "worker": ["b"]}, hostvars)
    problems = celery.problems({**DECLARED, "celery_topology": topology})
    assert len(problems) == 1
    assert problems[0].startswith("celery_address is not set for b")


def test_nodes_of_a_cluster_are_named_as_their_role_names_them() -> None:
    def host(number: int, **more: Any) -> dict[str, Any]:
        return {"celery_address": f"10.0.0.{number}", "rabbitmq_erlang_cookie": "c", **more}

    hostvars = {
        "a": host(1, ansible_facts={"hostname": "server1"}),
        "b": host(2, ansible_facts={"hostname": "server1"}, rabbitmq_node_name="rabbit@old"),
        "c": host(3, rabbitmq_erlang_cookie="d"),
    }
    topology = make_topology({"broker": ["a", "b", "c"]}, hostvars)
    assert [entry["node"] for entry in topology["broker"]] == ["rabbit@server1", "rabbit@old", ""]
    assert topology["problems"] == [
        "rabbitmq_erlang_cookie differs between a, b, c, so they could not form a cluster; write it once, for all of "
        "them, into the vault of group_vars/all"
    ]
    assert make_topology({"broker": ["a"], "worker": ["c"]}, hostvars)["problems"] == []


def test_the_role_and_the_topology_derive_one_name_of_a_node() -> None:
    """Other hosts do not see a role's defaults, so it is written in both."""
    facts = {"ansible_facts": {"hostname": "server1"}}
    defaults = yaml.safe_load((ROOT / "roles/rabbitmq/defaults/main.yml").read_text())
    topology = make_topology({"broker": ["a", "b"]}, {"a": facts, "b": facts})
    assert topology["broker"][0]["node"] == Template(defaults["rabbitmq_node_name"]).render(facts)


def test_roles_of_a_host() -> None:
    everything = ["monitor", "worker", "ungrouped", "beat", "broker", "backend", "tracker"]
    assert services_of(everything, "rabbitmq") == [
        "rabbitmq", "redis", "bugsink", "app", "sentry", "worker", "beat", "flower",
    ]  # fmt: skip
    assert services_of(["broker", "backend"], "redis") == ["redis"]
    assert services_of(["broker"], "amqps://elsewhere") == []


def test_a_file_for_each_worker() -> None:
    (file,) = each_file([{"unit": "bulk", "queues": ["bulk"]}], "/x/worker-{unit}@.service", "worker.j2")
    assert file["path"] == "/x/worker-bulk@.service"
    assert file["vars"] == {"item": {"unit": "bulk", "queues": ["bulk"]}}


def test_a_unit_watches_its_template_and_the_common_files() -> None:
    unit = {"name": "w@1.service", "twin": "w@1-next.service", "template": "w@.service", "marker": "worker-w"}
    assert watching([unit], ["/etc/x"], "/etc/drained") == [
        {
            "name": "w@1.service",
            "twin": "w@1-next.service",
            "watch": ["/etc/systemd/system/w@.service", "/etc/x"],
            "hold": ["/etc/drained/host", "/etc/drained/worker-w"],
        }
    ]


def test_unit_lines() -> None:
    assert unit_lines({"B": True, "A": ["1", "2"], "C": "", "D": 0, "E": False}).splitlines() == [
        "A=1", "A=2", "B=yes", "C=", "D=0", "E=no",
    ]  # fmt: skip


def test_table_is_aligned() -> None:
    assert table(["a", "bb"], [["ccc", "d"]]) == ["a    bb", "ccc  d"]


def test_plan_table_names_units_queues_and_settings_but_no_password() -> None:
    plan = make_plan({"celery_app": "a:b", "celery_workers": WORKERS, "celery_broker_password": "s3cret-pw"})
    text = plan_table(plan)
    for part in ("celery-worker-default@1.service", "1024M", "quorum", "celery.dead", "at_least_once"):
        assert part in text
    assert "s3cret-pw" not in text
    assert "no worker runs on this host" in plan_table({**plan, "units": []})


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_a_producer_elsewhere_sends_as_the_hosts_do(broker: str) -> None:
    """The printed text is a configuration that Celery itself reads."""
    celery_app = pytest.importorskip("celery")
    place = [{"name": "a", "address": "10.0.0.7"}]
    declared = {
        "celery_app": "a:b",
        "celery_workers": {"default": {}, "mail": {}},
        "celery_routes": {"shop.*": "mail"},
        "celery_settings": {"timezone": "UTC", "task_publish_retry_policy": {"max_retries": 7}},
        "celery_broker": broker,
        "celery_broker_password": "s3cret-pw",
        "celery_topology": dict.fromkeys(("broker", "backend", "worker"), place),
    }
    text = producer_settings(make_plan(declared, "a"))
    assert "s3cret-pw" not in text
    assert "127.0.0.1" not in text
    module: dict[str, Any] = {}
    exec(text, module)  # noqa: S102 - that it is a program is what is tested
    app = celery_app.Celery(set_as_current=False)
    app.config_from_object(type("config", (), module))
    settings = make_plan(declared, "b")["settings"]
    assert app.conf.broker_url == make_plan(declared, "b")["broker"]["url"]
    assert app.conf.broker_transport_options == settings["broker_transport_options"]
    assert app.conf.task_publish_retry_policy == {"max_retries": 7}
    assert app.conf.task_create_missing_queues is False
    for planned in settings["task_queues"]:
        queue = app.amqp.queues[planned["name"]]
        assert (queue.exchange.name, queue.exchange.type) == (planned["exchange"], planned["exchange_type"])
        assert queue.routing_key == planned["routing_key"]
        assert (queue.queue_arguments or {}) == planned["queue_arguments"]
    assert app.amqp.router.route({}, "shop.tasks.charge")["queue"].name == "mail"
    assert app.amqp.router.route({}, "other")["queue"].name == "default"


# --- rules of the roles ---------------------------------------------------------------------------------------


def test_the_declarations_rules_are_the_plans() -> None:
    good = {"celery_app": "a:b", "celery_workers": WORKERS}
    assert celery.problems(good) == []
    assert celery.problems({**good, "celery_app": ""})[0].startswith("celery_app is not set")


DECLARED = {"celery_app": "a:b", "celery_workers": WORKERS, "inventory_hostname": "a"}
WORKER = {"declaration": DECLARED, "celery_broker_password": "x", "celery_result_password": "y", "worker_surge": 2}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"declaration": {**DECLARED, "celery_app": ""}}, "celery_app is not set"),
        ({"celery_broker_password": ""}, "celery_broker_password is not set"),
        ({"celery_result_password": ""}, "celery_result_password is not set"),
        ({"worker_surge": -1}, "worker_surge is -1: write a whole number of 0 or more"),
    ],
)
def test_worker_refuses(changes: dict[str, Any], sentence: str) -> None:
    assert worker.problems(WORKER) == []
    (problem,) = worker.problems({**WORKER, **changes})
    assert sentence in problem


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"celery_service_options": {"KillMode": "control-group"}}, "would overrule the plan; write nothing"),
        ({"celery_service_options": {"TimeoutSec": 5}}, "would overrule the plan; write stop_timeout"),
        ({"celery_service_options": {"MemoryMax": "1G"}}, "write memory_max in celery_workers"),
        ({"celery_service_options": {"Slice": "other.slice"}}, "write cpu_weight in celery_workers"),
        ({"celery_service_options": ["x"]}, "celery_service_options is not a mapping"),
        ({"celery_environment": {"DEBUG": False}}, "celery_environment.DEBUG is false; write a text in quotes"),
        ({"celery_environment": {"A B": "x"}}, "celery_environment has the name 'A B'"),
        ({"celery_environment": ["x"]}, "celery_environment is not a mapping"),
        ({"celery_secret_environment": {"KEY": ["s3cret-pw"]}}, "celery_secret_environment.KEY is a list"),
    ],
)
def test_processes_that_could_not_run_are_refused(changes: dict[str, Any], sentence: str) -> None:
    problems = celery.problems({**DECLARED, **changes})
    assert len(problems) == 1
    assert sentence in problems[0]
    assert "s3cret-pw" not in problems[0]


def test_an_environment_of_texts_and_numbers() -> None:
    assert celery.problems({**DECLARED, "celery_environment": {"PORT": 8080, "LANG": "C"}}) == []
    assert as_texts({"PORT": 8080, "LANG": "C"}) == {"PORT": "8080", "LANG": "C"}


def test_no_result_backend_needs_no_password() -> None:
    declared = {**DECLARED, "celery_result_backend": "none"}
    assert worker.problems({**WORKER, "declaration": declared, "celery_result_password": ""}) == []


def test_a_redis_without_a_user_may_have_no_password() -> None:
    declared = {**DECLARED, "celery_result_backend": "redis://cache/0", "celery_broker": "redis://queue/0"}
    none = {"celery_broker_password": "", "celery_result_password": ""}
    assert worker.problems({**WORKER, "declaration": declared, **none}) == []
    assert beat.problems({"declaration": declared, **none}) == []
    named = {**declared, "celery_result_backend": "redis://me@cache/0", "celery_broker": "redis://me@queue/0"}
    assert len(worker.problems({**WORKER, "declaration": named, **none})) == 2


def test_beat_refuses_a_second_one() -> None:
    topology = {kind: [{"name": "a", "address": "10.0.0.1"}] for kind in ("broker", "backend", "worker", "beat")}
    declared = {**DECLARED, "celery_topology": topology}
    here = {"celery_broker_password": "x", "declaration": declared}
    assert beat.problems(here) == []
    assert "beat belongs on a" in beat.problems({**here, "declaration": {**declared, "inventory_hostname": "b"}})[0]
    assert "celery_broker_password is not set" in beat.problems({**here, "celery_broker_password": ""})[0]


def test_app_source(tmp_path: Any) -> None:
    def problem(source: str) -> str:
        return " ".join(app.problems({"declaration": DECLARED, "app_source": source, "app_keep": 5}))

    (tmp_path / "requirements.txt").touch()
    (tmp_path / "empty").mkdir()
    wheel = tmp_path / "shop-1-py3-none-any.whl"
    wheel.touch()
    for good in (str(tmp_path), str(wheel), "shop==1.2.0", "shop[redis]==1.2.0"):
        assert problem(good) == "", good
    assert "app_source is not set" in problem("")
    assert "write the whole path" in problem("../shop")
    assert "write the whole path" in problem("dist/shop-1.whl")
    assert "is not there; write the path of your project" in problem(str(tmp_path / "gone"))
    assert "is not there; build it first" in problem(str(tmp_path / "gone.whl"))
    assert "says nowhere what it needs" in problem(str(tmp_path / "empty"))
    assert "pin it, like shop==1.2.0" in problem("shop>=1")
    assert "pin it, like shop==1.2.0" in problem("shop")
    assert "no directory, no wheel and no pinned package" in problem("what is this?")


def test_app_numbers() -> None:
    good = {"declaration": DECLARED, "app_source": "shop==1.0", "app_keep": 2, "app_requirements": ["redis==8.1.0"]}
    assert app.problems(good) == []
    assert "nothing to go back to" in app.problems({**good, "app_keep": 1})[0]
    assert "is not pinned" in app.problems({**good, "app_requirements": ["redis"]})[0]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"celery_audit": "enforced"},
            "celery_audit is 'enforced' (did you mean 'enforce'?); write one of enforce, warn",
        ),
        ({"celery_audit_accept": "plain-logger"}, "celery_audit_accept is no list; write it like [{id: plain-logger,"),
        ({"celery_audit_accept": ["plain-logger"]}, "celery_audit_accept[0] is 'plain-logger'; write a mapping"),
        ({"celery_audit_accept": [{"reason": "x"}]}, "celery_audit_accept[0] has no id; write the id of a finding"),
        ({"celery_audit_accept": [{"id": "a", "reason": " "}]}, "celery_audit_accept[0] (a) has no reason; write why"),
        (
            {"celery_audit_accept": [{"id": "a", "reson": "x", "reason": "x"}]},
            "celery_audit_accept[0] has an unknown key 'reson' (did you mean 'reason'?); the keys are id, task, reason",
        ),
    ],
)
def test_what_is_accepted_has_an_id_and_a_reason(variables: dict[str, Any], sentence: str) -> None:
    good = {"declaration": DECLARED, "app_source": "shop==1.0", "app_keep": 5}
    assert app.problems({**good, "celery_audit": "warn", "celery_audit_accept": [{"id": "a", "reason": "b"}]}) == []
    assert app.problems({**good, "celery_audit": False}) == []  # what YAML makes of off
    (found,) = app.problems({**good, **variables})
    assert found.startswith(sentence)
