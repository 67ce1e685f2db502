# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: what it derives, what it refuses, and what holds for every declaration."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import plan as planning
from ansible_collections.celeryops.stack.plugins.module_utils.plan import PlanError, make_plan, with_password
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.url import url_to_parts

SHOP: dict[str, Any] = {
    "celery_app": "shop.celery:app",
    "celery_workers": {
        "critical": {"concurrency": 4, "soft_time_limit": 45, "time_limit": 60},
        "default": {"concurrency": 2, "soft_time_limit": 240, "time_limit": 300, "instances": 2},
        "bulk": {"concurrency": 1, "time_limit": 900, "prefetch_multiplier": 8, "memory_max": "1G"},
    },
}


def plan_of(**changes: Any) -> dict[str, Any]:
    return make_plan({**SHOP, **changes}, "here")


def problems_of(**changes: Any) -> list[str]:
    with pytest.raises(PlanError) as error:
        plan_of(**changes)
    return error.value.problems


def one_worker(**entry: Any) -> dict[str, Any]:
    return {"celery_workers": {"default": entry}}


def hosts(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "address": f"10.0.0.{number}"} for number, name in enumerate(names, 1)]


def cluster(*brokers: str, node: str = "", workers: tuple[str, ...] = ("here",)) -> dict[str, Any]:
    nodes = [{**entry, "node": node or f"rabbit@{entry['name']}"} for entry in hosts(*brokers)]
    return {"broker": nodes, "backend": hosts("here"), "worker": [{"name": w, "address": "10.0.1.1"} for w in workers]}


# --- what it derives ------------------------------------------------------------------------------------------


def test_one_unit_for_each_instance() -> None:
    units = plan_of()["units"]
    assert [unit["name"] for unit in units] == [
        "celery-worker-critical@1.service",
        "celery-worker-default@1.service",
        "celery-worker-default@2.service",
        "celery-worker-bulk@1.service",
    ]
    assert [unit["node"] for unit in units] == ["critical-1@here", "default-1@here", "default-2@here", "bulk-1@here"]
    assert units[2]["twin"] == "celery-worker-default@2-next.service"
    assert units[2]["marker"] == "worker-default"


def test_a_slice_for_each_entry_side_by_side() -> None:
    units = plan_of(celery_workers={"mail.out-2": {"instances": 2}, "mail": {}})["units"]
    assert [unit["slice"] for unit in units] == 2 * ["celery-worker-mail_out_2.slice"] + ["celery-worker-mail.slice"]


def test_numbers_of_a_unit() -> None:
    bulk = plan_of()["units"][-1]
    assert (bulk["soft_time_limit"], bulk["time_limit"], bulk["timeout_stop"]) == (720, 900, 930)
    assert bulk["memory_max"] == 1024**3
    assert bulk["prefetch_multiplier"] == 8


@pytest.mark.parametrize(
    ("entry", "soft", "hard"),
    [({}, 240, 300), ({"time_limit": 60}, 48, 60), ({"soft_time_limit": 600}, 600, 751), ({"time_limit": 2}, 1, 2)],
)
def test_the_missing_limit_follows_the_given_one(entry: dict[str, int], soft: int, hard: int) -> None:
    unit = plan_of(**one_worker(**entry))["units"][0]
    assert (unit["soft_time_limit"], unit["time_limit"]) == (soft, hard)


def test_celery_counts_memory_of_a_child_in_kib() -> None:
    assert plan_of(**one_worker(max_memory_per_child="400M"))["units"][0]["max_memory_per_child"] == 400 * 1024


def test_consumer_timeout_covers_the_wait_behind_prefetched_messages() -> None:
    assert plan_of()["broker"]["consumer_timeout"] == (900 * 9 + 60) * 1000
    assert plan_of(**one_worker())["broker"]["consumer_timeout"] == planning.CONSUMER_TIMEOUT_FLOOR * 1000


def test_every_queue_is_quorum_and_bound_to_a_topic_exchange_for_delays_too() -> None:
    objects = plan_of()["broker"]["objects"]
    kinds = {exchange["name"]: exchange["type"] for exchange in objects["exchanges"]}
    assert kinds["celery.tasks"] == "topic"
    assert {queue["arguments"]["x-queue-type"] for queue in objects["queues"]} == {"quorum"}
    for queue in ("critical", "default", "bulk"):
        keys = {b["routing_key"] for b in objects["bindings"] if b["destination"] == queue}
        assert keys == {queue, f"#.{queue}"}


def test_the_ladder_of_delays_is_kombus_own() -> None:
    """The same exchanges, queues and bindings as kombu would declare, so that neither fails on the other's."""
    native = pytest.importorskip("kombu.transport.native_delayed_delivery")
    objects = plan_of()["broker"]["objects"]
    seen: dict[str, Any] = {"exchanges": set(), "queues": {}, "bindings": set()}

    class Channel:
        no_ack_consumers = None

        class connection:
            class client:
                transport_options: ClassVar[dict[str, Any]] = {}

        def exchange_declare(self, exchange: str, type: str, **_: Any) -> None:
            seen["exchanges"].add((exchange, type))

        def queue_declare(self, queue: str, arguments: dict[str, Any], **_: Any) -> None:
            seen["queues"][queue] = arguments

        def prepare_queue_arguments(self, arguments: dict[str, Any], **_: Any) -> dict[str, Any]:
            return arguments

        def queue_bind(self, queue: str, exchange: str, routing_key: str, **_: Any) -> None:
            seen["bindings"].add((exchange, queue, "queue", routing_key))

        def exchange_bind(self, destination: str, source: str, routing_key: str, **_: Any) -> None:
            seen["bindings"].add((source, destination, "exchange", routing_key))

    class Connection:
        def channel(self) -> Channel:
            return Channel()

    native.declare_native_delayed_delivery_exchanges_and_queues(Connection(), "quorum")
    planned = {(b["source"], b["destination"], b["destination_type"], b["routing_key"]) for b in objects["bindings"]}
    assert seen["exchanges"] <= {(e["name"], e["type"]) for e in objects["exchanges"]}
    assert seen["bindings"] <= planned
    declared = {queue["name"]: queue["arguments"] for queue in objects["queues"]}
    assert {name: declared[name] for name in seen["queues"]} == seen["queues"]
    assert planning.DELAY_BITS == native.MAX_NUMBER_OF_BITS_TO_USE


def test_what_cannot_be_delivered_or_kills_its_worker_ends_in_the_dead_letter_queue() -> None:
    policy, keep, unroutable = plan_of()["broker"]["objects"]["policies"]
    assert policy["definition"]["dead-letter-exchange"] == "celery.dead"
    assert policy["definition"]["dead-letter-strategy"] == "at-least-once"
    assert policy["definition"]["delivery-limit"] > 0
    assert all(re.match(policy["pattern"], queue) for queue in ("critical", "default", "bulk"))
    assert not re.match(policy["pattern"], "celery.dead")
    assert re.match(keep["pattern"], "celery.dead")
    assert re.match(unroutable["pattern"], "celery.tasks")
    assert unroutable["definition"] == {"alternate-exchange": "celery.dead"}
    assert keep["definition"]["delivery-limit"] > 100_000, "a look at a dead message counts as a delivery"


def test_worker_may_touch_celerys_own_names_only() -> None:
    configure = plan_of()["broker"]["permissions"]["worker"]["configure"]
    for name in (
        "critical",
        "celery.tasks",
        "celery_delayed_27",
        "celeryev",
        "celeryev.1f",
        "a@b.celery.pidbox",
        "x.reply.celery.pidbox",
    ):
        assert re.match(configure, name), name
    for name in ("somebody-else", "critical2", "amq.topic", "xcelery", "celery.dead"):
        assert not re.match(configure, name), name


def test_a_producer_may_send_now_or_delayed_and_nothing_else() -> None:
    rights = plan_of(celery_producer_user="producer")["broker"]["permissions"]["producer"]
    for name in ("celery.tasks", "celery_delayed_27"):
        assert re.match(rights["write"], name), name
    for name in ("critical", "celery.dead", "celery.pidbox", "celery_delayed_2", "celeryXtasks", "amq.default"):
        assert not any(re.match(pattern, name) for pattern in rights.values()), name
    for name in ("celery.tasks", "celery_delayed_27"):
        assert not re.match(rights["configure"], name), f"it could delete {name}"
        assert not re.match(rights["read"], name), name


def test_the_entrance_of_the_ladder_is_kombus() -> None:
    delivery = pytest.importorskip("kombu.transport.native_delayed_delivery")
    assert delivery.level_name(delivery.MAX_LEVEL) == planning.DELAY_ENTRANCE


def test_producers_have_a_user_where_it_has_a_name() -> None:
    def users(**changes: Any) -> list[str]:
        return [user["name"] for user in plan_of(**changes)["broker"]["users"]]

    assert users() == ["celery", "monitor"]
    assert users(celery_producer_user="producer") == ["celery", "producer", "monitor"]
    with_producers = plan_of(celery_producer_user="web", celery_topology=dict.fromkeys(planning.KINDS, hosts("here")))
    assert with_producers["broker"]["url"].startswith("amqp://celery@")
    assert with_producers["producer"]["broker_url"] == "amqp://web@10.0.0.1:5672/celery"
    assert all(queue["no_declare"] for queue in with_producers["producer"]["task_queues"].values())
    on_redis = plan_of(celery_broker="redis", celery_producer_user="web")
    assert on_redis["producer"]["broker_url"].startswith("redis://web@")
    assert not any("no_declare" in queue for queue in on_redis["producer"]["task_queues"].values())
    assert [user["name"] for user in on_redis["redis_users"]] == ["results", "celery", "web", "monitor"]


def test_each_generation_of_passwords_has_users_of_its_own() -> None:
    third = plan_of(celery_generation=3, celery_producer_user="producer")
    assert [(user["name"], user["former"]) for user in third["broker"]["users"]] == [
        ("celery-3", ["celery", "celery-2"]),
        ("producer-3", ["producer", "producer-2"]),
        ("monitor-3", ["monitor", "monitor-2"]),
    ]
    assert [(user["name"], user["former"]) for user in third["redis_users"]] == [
        ("results-3", ["results", "results-2"])
    ]
    assert third["broker"]["url"].startswith("amqp://celery-3@")
    assert third["result_backend"]["url"].startswith("redis://results-3@")
    assert third["producer"]["broker_url"].startswith("amqp://producer-3@")
    assert plan_of(celery_generation="1") == plan_of()


def test_users_that_somebody_else_makes_have_the_names_that_they_are_given() -> None:
    elsewhere = plan_of(celery_broker="amqps://me@mq.example.org/shop", celery_generation=3, celery_producer_user="web")
    assert elsewhere["broker"]["url"] == "amqps://me@mq.example.org/shop"
    assert elsewhere["producer"]["broker_url"] == "amqps://web@mq.example.org/shop"


def test_settings_lose_no_task() -> None:
    settings = plan_of()["settings"]
    assert settings["task_acks_late"] is True
    assert settings["task_reject_on_worker_lost"] is True
    assert settings["task_retry_on_worker_lost"] is False, "it would escape the delivery limit"
    assert settings["broker_transport_options"]["confirm_publish"] is True
    assert settings["task_create_missing_queues"] is False
    assert settings["accept_content"] == ["json"]


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_every_derived_setting_is_either_reserved_or_meant_to_be_tuned(broker: str) -> None:
    derived = set(plan_of(celery_broker=broker, celery_routes={"a": "default"})["settings"])
    assert derived <= set(planning.RESERVED_SETTINGS) | set(planning.TUNABLE)
    assert not set(planning.RESERVED_SETTINGS) & set(planning.TUNABLE)


def test_redis_as_broker_waits_longer_than_a_worker_may_be_silent_and_knows_no_quorum() -> None:
    plan = plan_of(celery_broker="redis", celery_workers={"slow": {"time_limit": 7200, "watchdog": 100}, "fast": {}})
    options = plan["settings"]["broker_transport_options"]
    assert options["visibility_timeout"] == plan["broker"]["visibility_timeout"] == 300
    assert plan_of(celery_broker="redis")["broker"]["visibility_timeout"] == 180
    assert options["unacked_mutex_expire"] <= options["unacked_restore_interval"], (
        "who fell silent keeps others from it"
    )
    assert options["deadletter_queue"] == "celery.dead", "what no queue takes would vanish"
    assert options["socket_timeout"], "a broker that never answers would hold a worker for ever"
    assert "quorum" not in json.dumps(plan)
    assert not {"master_name", "copies", "confirm_publish"} & set(options)
    assert plan["settings"]["task_retry_on_worker_lost"] is True, (
        "a task that kills its worker would come back for ever"
    )


def three(kind: str = "broker") -> dict[str, Any]:
    group = [{**host, "node": f"rabbit@{host['name']}"} for host in hosts("r1", "r2", "r3")]  # of no use to Redis
    return {kind: group, "worker": hosts("w1")} | ({} if kind == "backend" else {"backend": group})


def test_several_redis_are_reached_through_their_sentinels() -> None:
    plan = make_plan({**SHOP, "celery_broker": "redis", "celery_topology": three()}, "r2")
    places = ("10.0.0.1", "127.0.0.1", "10.0.0.3")
    assert plan["broker"]["url"] == ";".join(f"sentinel://celery@{place}:26379/0" for place in places)
    assert plan["result_backend"]["url"] == ";".join(f"sentinel://results@{place}:26379/1" for place in places)
    options = plan["settings"]["broker_transport_options"]
    assert (options["master_name"], options["copies"]) == ("celery", 1)
    times = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
    assert plan["settings"]["result_backend_transport_options"] == {"master_name": "celery", "sentinel_kwargs": times}
    assert "sentinel://celery@10.0.0.2:26379/0" in plan["producer"]["broker_url"]
    for name, user in (("broker_transport_options", "celery"), ("result_backend_transport_options", "results")):
        assert plan["producer"][name]["sentinel_kwargs"] == {**times, "username": user, "password": ""}
    assert plan["redis"] == {"hosts": hosts("r1", "r2", "r3"), "broker": True, "majority": 2, "min_replicas": 1}


def test_results_alone_may_have_replicas() -> None:
    topology = {**three("backend"), "broker": hosts("b1")}
    plan = make_plan({**SHOP, "celery_topology": topology}, "r1")
    assert plan["result_backend"]["sentinel"] == "celery"
    assert plan["broker"]["kind"] == "rabbitmq"
    assert (plan["redis"]["broker"], plan["redis"]["majority"]) == (False, 2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"broker": hosts("r1", "r2"), "backend": []}, "holds 2 hosts of Redis (r1, r2): where one is gone"),
        ({"broker": hosts(*"abcd"), "backend": hosts(*"abcd")}, "put 5 hosts into it, or 3, for the broker"),
        ({"broker": hosts("r1"), "backend": hosts("r1", "r2", "r3")}, "have only some hosts in common"),
    ],
)
def test_sentinels_that_could_not_decide_are_refused(changes: dict[str, Any], says: str) -> None:
    values: dict[str, Any] = {"celery_broker": "redis", "celery_topology": {**three(), **changes}}
    if not changes["backend"]:
        values["celery_result_backend"] = "none"
    found = problems_of(**values)
    assert len([problem for problem in found if says in problem]) == 1, found


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"broker_heartbeat": 30}, "broker_heartbeat is about RabbitMQ, and celery_broker is redis"),
        ({"worker_detect_quorum_queues": True}, "worker_detect_quorum_queues is about RabbitMQ"),
        ({"visibility_timeout": 60}, "visibility_timeout may not be set here"),
        ({"broker_transport_options": {"visibility_timeout": 60}}, "broker_transport_options may not be set here"),
        ({"result_backend_transport_options": {}}, "result_backend_transport_options may not be set here"),
    ],
)
def test_settings_that_do_not_go_with_redis(settings: dict[str, Any], says: str) -> None:
    assert says in " ".join(problems_of(celery_broker="redis", celery_settings=settings))


def test_a_cluster_over_tls() -> None:
    plan = plan_of(celery_topology=cluster("a", "b", "c"), celery_tls=True)
    assert sorted(plan["broker"]["url"].split(";")) == [f"amqps://celery@10.0.0.{n}:5671/celery" for n in (1, 2, 3)]
    assert plan["producer"]["broker_url"].count("amqps://") == 3
    # A client goes on checking the first one's name, for which every certificate is.
    assert plan["settings"]["broker_use_ssl"]["server_hostname"] == "10.0.0.1"


def test_users_of_a_redis_that_is_broker_and_backend() -> None:
    users = plan_of(celery_broker="redis")["redis_users"]
    assert [(user["name"], user["password_in"]) for user in users] == [
        ("results", "celery_result_password"),
        ("celery", "celery_broker_password"),
        ("monitor", "celery_monitor_password"),
    ]
    assert [user["name"] for user in plan_of()["redis_users"]] == ["results"]
    secrets = {"celery_result_password": "p", "celery_broker_password": "q", "celery_monitor_password": "r"}
    assert planning.with_secrets(users[:1], secrets) == [
        {"name": "results", "password": "p", "rules": users[0]["rules"]}
    ]
    sender = plan_of(celery_broker="redis", celery_producer_user="web")["redis_users"][2]
    assert sender["name"] == "web"
    assert not {"+rpop", "+brpop", "+del", "+eval", "+zadd", "+hset"} & set(sender["rules"])
    assert not {"+@all", "+@admin", "+config", "+keys", "+flushall"} & {
        rule for user in users for rule in user["rules"]
    }


def test_threads_pool_has_a_stop_timeout_in_place_of_limits() -> None:
    unit = plan_of(**one_worker(pool="threads", stop_timeout=40))["units"][0]
    assert (unit["time_limit"], unit["max_tasks_per_child"], unit["timeout_stop"]) == (None, None, 40)


def test_a_queue_may_opt_out_of_being_delivered_again() -> None:
    workers = {"metrics": {"delivery": "at_most_once"}, "default": {}}
    plan = plan_of(celery_workers=workers)
    assert [unit["delivery"] for unit in plan["units"]] == ["at_most_once", "at_least_once"]
    # It is the worker's affair alone: senders, the broker and its patience stay as they are.
    reliable = plan_of(celery_workers={name: {} for name in workers})
    assert (plan["settings"], plan["broker"]) == (reliable["settings"], reliable["broker"])


def test_the_throughput_profile_changes_defaults_only() -> None:
    keys = ("pool", "prefetch_multiplier", "events", "timeout_stop", "time_limit", "log_level", "delivery")

    def numbers(**entry: Any) -> tuple[Any, ...]:
        unit = plan_of(**one_worker(**entry))["units"][0]
        return tuple(unit[key] for key in keys)

    assert numbers() == numbers(profile="reliable") == ("prefork", 1, True, 330, 300, "INFO", "at_least_once")
    assert numbers(profile="throughput") == ("threads", 64, False, 60, None, "WARNING", "at_least_once")
    said = {"pool": "prefork", "prefetch_multiplier": 4, "events": True, "log_level": "INFO"}
    assert numbers(profile="throughput", **said) == ("prefork", 4, True, 330, 300, "INFO", "at_least_once")
    assert numbers(profile="throughput", stop_timeout=9)[3] == 9
    assert plan_of(**one_worker(profile="throughput"))["broker"]["consumer_timeout"] == (60 * 65 + 60) * 1000


def test_a_queue_more_or_less_restarts_nobody_else() -> None:
    workers = SHOP["celery_workers"]
    stamp = plan_of()["stamp"]
    assert stamp == plan_of(celery_workers={**workers, "old": {"time_limit": 9}})["stamp"]
    assert plan_of(celery_workers={**workers, "old": {}})["settings"] != plan_of()["settings"]
    for change in (
        {"celery_routes": {"a": "bulk"}},
        {"celery_default_queue": "bulk"},
        {"celery_settings": {"timezone": "UTC"}},
        {"celery_result_backend": "none"},
        {"celery_broker": "redis"},
    ):
        assert plan_of(**change)["stamp"] != stamp, change


def test_a_profile_knows_its_keys() -> None:
    assert all(set(defaults) <= set(planning.WORKER_KEYS) for defaults in planning.PROFILES.values())


def test_several_hosts() -> None:
    topology = {
        "broker": hosts("b1"),
        "backend": hosts("b1"),
        "worker": [{"name": "w1", "address": "10.0.1.1"}, {"name": "w2", "address": "10.0.1.2"}],
        "beat": [{"name": "w1", "address": "10.0.1.1"}],
    }
    workers = {"default": {}, "gpu": {"hosts": ["w2"]}}
    values = {**SHOP, "celery_workers": workers, "celery_topology": topology}
    first, second, broker = (make_plan(values, host) for host in ("w1", "w2", "b1"))
    assert [u["node"] for u in first["units"]] == ["default-1@w1"]
    assert [u["node"] for u in second["units"]] == ["default-1@w2", "gpu-1@w2"]
    assert broker["units"] == []
    assert broker["broker"]["queues"] == ["default", "gpu"]
    assert first["broker"]["url"] == "amqp://celery@10.0.0.1:5672/celery"
    assert broker["broker"]["url"] == "amqp://celery@127.0.0.1:5672/celery"
    assert first["nodes"] == second["nodes"] == ["default-1@w1", "default-1@w2", "gpu-1@w2"]
    assert first["beat"]["host"] == "w1"


def places(url: str) -> list[str]:
    return [part.split("@")[1].split(":")[0] for part in url.split(";")]


def test_clients_know_every_node_of_a_cluster_and_begin_with_different_ones() -> None:
    workers = tuple(f"w{number}" for number in range(6))
    topology = cluster("b1", "b2", "b3", workers=workers)
    plans = {host: make_plan({**SHOP, "celery_topology": topology}, host) for host in (*workers, "b2", "")}
    orders = [tuple(places(plans[host]["broker"]["url"])) for host in workers]
    assert all(sorted(order) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"] for order in orders)
    assert len(set(orders)) == 6  # also the second one differs: whoever loses a node does not follow all the others
    assert places(plans["b2"]["broker"]["url"])[0] == plans["b2"]["broker"]["hosts"][0] == "127.0.0.1"
    assert places(plans[""]["producer"]["broker_url"]) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert {plan["stamp"] for plan in plans.values()} == {plans[""]["stamp"]}
    assert plans["w1"]["broker"]["nodes"][1] == {"name": "rabbit@b2", "address": "10.0.0.2"}
    assert plan_of()["broker"]["nodes"] == []


@given(count=st.integers(1, 7), turns=st.integers(1, 40))
def test_no_node_of_a_cluster_has_two_clients_more_than_another(count: int, turns: int) -> None:
    orders = [[e["name"] for e in planning.in_turn(hosts(*map(str, range(count))), turn)] for turn in range(turns)]
    assert all(sorted(order) == [str(number) for number in range(count)] for order in orders)
    first = [sum(order[0] == str(number) for order in orders) for number in range(count)]
    assert max(first) - min(first) <= 1


def test_a_broker_of_somebody_else() -> None:
    broker = plan_of(celery_broker="amqps://me@rabbit.example.org/shop")["broker"]
    assert (broker["kind"], broker["vhost"], broker["port"], broker["user"]) == ("external", "shop", 5671, "me")


def test_the_applications_own_results_are_the_applications_affair() -> None:
    plan = plan_of(celery_result_backend="application", celery_topology={**cluster("here"), "backend": []})
    assert (plan["result_backend"]["kind"], plan["result_backend"]["url"]) == ("application", "")
    assert not {"result_backend", "result_expires", "result_extended"} & set(plan["settings"])
    assert plan["settings"]["redis_socket_timeout"] == 15, "which may be a Redis"
    assert "result_backend" not in plan["producer"]
    assert "redis_socket_timeout" not in plan_of(celery_result_backend="none")["settings"]


def test_password_goes_into_every_url_and_is_quoted() -> None:
    assert with_password("amqp://u@a:1/v;amqp://u@b:1/v", "p@/") == "amqp://u:p%40%2F@a:1/v;amqp://u:p%40%2F@b:1/v"
    assert with_password("amqp://u@a/v", "p", user="m") == "amqp://m:p@a/v"
    assert with_password("", "p") == ""
    assert with_password("redis://a/0", "p@") == "redis://:p%40@a/0"
    assert with_password("redis://a/0", "") == "redis://a/0"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"celery_result_backend": "redis://cache/0"}, "redis://cache/0"),
        ({"celery_result_backend": "redis://me@cache/0"}, "redis://me@cache/0"),
        ({"celery_result_backend": "redis://me@cache/0", "celery_result_user": "web"}, "redis://me@cache/0"),
    ],
)
def test_a_url_without_a_user_names_none(given: dict[str, Any], url: str) -> None:
    assert plan_of(**given)["result_backend"]["url"] == url
    on_redis = plan_of(celery_broker=given["celery_result_backend"])["broker"]
    assert on_redis["url"] == url
    assert on_redis["user"] == ("me" if "@" in url else "")


def test_a_user_that_a_url_would_leave_out_is_refused() -> None:
    (backend,) = problems_of(celery_result_backend="redis://cache/0", celery_result_user="web")
    assert "celery_result_user is 'web', but celery_result_backend is a URL without a user" in backend
    assert backend.endswith("write redis://web@cache/0")
    (broker,) = problems_of(celery_broker="rediss://cache/0", celery_broker_user="web")
    assert broker.endswith("write rediss://web@cache/0")
    (odd,) = problems_of(celery_broker="redis://mq/0", celery_broker_user="a%b@c/d")
    assert odd.endswith("write redis://a%25b%40c%2Fd@mq/0")


def test_percent_encoded_logins_and_vhosts_mean_what_kombu_makes_of_them() -> None:
    url = "amqp://shop%40eu@mq.example.org/%2Fteam%2Fshop"
    plan = plan_of(celery_broker=url, celery_result_backend="redis://shop%2F1@cache.example.org/0")
    broker, backend = plan["broker"], plan["result_backend"]

    assert (broker["user"], broker["vhost"], backend["user"]) == ("shop@eu", "/team/shop", "shop/1")
    assert {queue["vhost"] for queue in broker["objects"]["queues"]} == {"/team/shop"}
    parts = url_to_parts(with_password(broker["url"], "p@ss/%41"))
    assert (parts.username, parts.password, parts.path) == ("shop@eu", "p@ss/%41", "/team/shop")
    parts = url_to_parts(with_password(backend["url"], "p@ss/%41"))
    assert (parts.username, parts.password, parts.path) == ("shop/1", "p@ss/%41", "0")


@pytest.mark.parametrize("kind", ["rabbitmq", "redis", "amqp://mq/x"])
def test_a_user_with_odd_characters_is_the_one_that_processes_log_in_as(kind: str) -> None:
    plan = plan_of(celery_broker=kind, celery_broker_user="a%b@c/d", celery_result_user="e%41:f")

    for place, user in ((plan["broker"], "a%b@c/d"), (plan["result_backend"], "e%41:f")):
        assert place["user"] == user
        assert url_to_parts(with_password(place["url"], "p")).username == user


# --- what it refuses ------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"celery_app": ""}, "celery_app is not set"),
    ({"celery_app": "shop celery"}, "celery_app is 'shop celery', which is not module:attribute"),
    ({"celery_workers": {}}, "celery_workers names no worker"),
    ({"celery_workers": ["default"]}, "celery_workers is no mapping"),
    ({"celery_workers": {"a b": {}}}, "celery_workers['a b']: the name may hold"),
    ({"celery_workers": {"mail_out": {}, "mail-out": {}}}, "would both be the unit celery-worker-mail-out@.service"),
    (one_worker(soft_time_limit=60, time_limit=60), "soft_time_limit (60 s) is not below time_limit (60 s)"),
    (one_worker(soft_time_limit=90, time_limit=60), "soft_time_limit (90 s) is not below time_limit (60 s)"),
    (one_worker(time_limit=None), "time_limit is empty, so a task could run for ever"),
    (one_worker(time_limit=1), "leaves no room for a soft limit"),
    (one_worker(concurency=2), "unknown key 'concurency' (did you mean 'concurrency'?)"),
    (one_worker(concurrency=0), "concurrency is 0; write a whole number, 1 or more"),
    (one_worker(concurrency="two"), "concurrency is 'two'; write a whole number"),
    (one_worker(concurrency=True), "concurrency is True; write a whole number"),
    (one_worker(time_limit=-5), "time_limit is -5; write a whole number of seconds"),
    (one_worker(memory_max="lots"), "memory_max is 'lots'; write a size such as 512M"),
    (one_worker(pool="gevent"), "pool is 'gevent'; write one of prefork, threads"),
    (one_worker(log_level="LOUD"), "log_level is 'LOUD'"),
    (one_worker(queues=[]), "queues is []; write a list of names"),
    (one_worker(queues=["amq.gen"]), "the queue name 'amq.gen' is used by the broker itself"),
    (one_worker(queues=["sp ace"]), "the queue name 'sp ace' may hold"),
    (
        one_worker(queues=["mail", "shop.mail"]),
        "a delayed task for the queue 'shop.mail' would also be",
    ),
    (one_worker(stop_timeout=100), "stop_timeout (100 s) would kill a task that may run 300 s; write at least 330"),
    (one_worker(watchdog=10), "watchdog is 10 s"),
    (one_worker(watchdog=10, profile="throughput"), "watchdog is 10 s"),
    (one_worker(delivery="at_most_onc"), "delivery is 'at_most_onc' (did you mean 'at_most_once'?); write one of"),
    (one_worker(profile="fast"), "profile is 'fast'; write one of reliable, throughput"),
    (one_worker(events="no"), "events is 'no'; write true or false"),
    (one_worker(profile="throughput", time_limit=9), "the threads pool ignores time_limit"),
    (
        {"celery_workers": {"a": {"queues": ["x", "y"]}, "b": {"queues": ["y"], "delivery": "at_most_once"}}},
        "the queue 'y' is at_least_once in 'a' and at_most_once in 'b'; write the same delivery in both",
    ),
    (one_worker(concurrency=4, max_memory_per_child="400M", memory_max="1G"), "do not fit into memory_max"),
    (one_worker(pool="threads", time_limit=9, stop_timeout=9), "the threads pool ignores time_limit"),
    (one_worker(pool="threads"), "write stop_timeout"),
    (one_worker(hosts=["elsewhere"]), "hosts names elsewhere, not in the inventory group 'worker'"),
    ({"celery_workers": {"default": 3}}, "celery_workers['default'] is 3; write a mapping"),
    ({"celery_default_queue": "mail"}, "celery_default_queue is 'mail', which no entry of celery_workers consumes"),
    ({"celery_routes": {"shop.*": "critcal"}}, "consumes (did you mean 'critical'?)"),
    ({"celery_routes": ["shop"]}, "celery_routes is not a mapping"),
    ({"celery_settings": {"task_always_eager": True}}, "celery_settings.task_always_eager may not be set"),
    ({"celery_settings": {"accept_content": ["pickle"]}}, "celery_settings.accept_content may not be set"),
    ({"celery_settings": {"task_acks_late": False}}, "celery_settings.task_acks_late may not be set"),
    (
        {"celery_settings": {"broker_read_url": "amqp://u:s3cret-pw@h//"}},
        "celery_settings.broker_read_url may not be set",
    ),
    ({"celery_settings": {"CELERY_TIMEZONE": "UTC"}}, "write Celery's names in lower case"),
    (
        {"celery_settings": {"task_reject_on_worker_los": True}},
        "task_reject_on_worker_los is no setting of Celery's (did you mean 'task_reject_on_worker_lost'?)",
    ),
    ({"celery_settings": {"shop_setting": 1}}, "celery_settings.shop_setting is no setting of Celery's"),
    *(
        ({"celery_settings": {name: True}}, f"celery_settings.{name} may not be set here; remove it")
        for name in (
            "control_exchange",
            "event_exchange",
            "event_queue_prefix",
            "task_queue_max_priority",
            "worker_detect_quorum_queues",
            "worker_direct",
            "worker_disable_prefetch",
            "worker_soft_shutdown_timeout",
        )
    ),
    ({"celery_settings": {"broker_transport": "redis"}}, "broker_transport may not be set here; write celery_broker"),
    (
        {"celery_settings": {"task_annotations": {"*": {"acks_late": False}}}},
        "celery_settings.task_annotations.*.acks_late would change when a task counts as done",
    ),
    ({"celery_settings": {"task_annotations": ["x"]}}, "celery_settings.task_annotations is no mapping of mappings"),
    (
        {"celery_settings": {"timezone": "Europe/Berln"}},
        "timezone is 'Europe/Berln', which is no time zone (did you mean 'Europe/Berlin'?)",
    ),
    ({"celery_broker": "sqla+postgresql://u@h/d"}, "celery_broker uses 'sqla+postgresql', a database"),
    ({"celery_broker": "django://"}, "celery_broker uses 'django', a database"),
    ({"celery_broker": "memory://"}, "celery_broker uses 'memory', which is for tests"),
    ({"celery_broker": "filesystem://"}, "celery_broker uses 'filesystem', which is for tests"),
    ({"celery_broker": "rabitmq"}, "celery_broker is of the unknown kind 'rabitmq'"),
    ({"celery_broker": "amqp://u:s3cret-pw@h/v"}, "put it into celery_broker_password (vault)"),
    ({"celery_broker": "amqp://"}, "celery_broker names no host"),
    ({"celery_broker": "amqp://h:port/v"}, "celery_broker is not a URL that can be read"),
    (
        {"celery_result_backend": "db+sqlite:///x"},
        "celery_result_backend uses 'db+sqlite', which the application configures itself",
    ),
    ({"celery_result_backend": "redis://u:s3cret-pw@h/0"}, "put it into celery_result_password (vault)"),
    ({"celery_broker": "redis", "celery_result_user": "celery"}, "give them different names"),
    ({"celery_generation": 0}, "celery_generation is 0; write a whole number from 1 to 9999"),
    ({"celery_generation": "two"}, "celery_generation is 'two'; write a whole number from 1 to 9999"),
    ({"celery_generation": True}, "celery_generation is True; write a whole number from 1 to 9999"),
    ({"celery_topology": {"worker": hosts("here"), "backend": hosts("here")}}, "the inventory group 'broker' is empty"),
    ({"celery_topology": {"worker": hosts("here"), "broker": hosts("here")}}, "the inventory group 'backend' is empty"),
    (
        {"celery_topology": dict.fromkeys(("worker", "backend"), hosts("here")) | {"broker": hosts("a", "b")}},
        "the inventory group 'broker' holds 2 hosts (a, b), and an even number",
    ),
    (
        {"celery_topology": cluster("a", "b", "c", node="rabbit@server")},
        "rabbitmq_node_name is rabbit@server for a, b, c, and the nodes of a cluster need a name each",
    ),
    (
        {"celery_topology": dict.fromkeys(("worker", "broker", "backend"), hosts("here")) | {"beat": hosts("a", "b")}},
        "the inventory group 'beat' holds 2 hosts (a, b)",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED, ids=[sentence[:50] for _, sentence in REFUSED])
def test_refused_with_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    problems = problems_of(**changes)
    assert len(problems) == 1, problems
    assert sentence in problems[0]
    assert "s3cret-pw" not in problems[0]
    assert "\n" not in problems[0]


def test_all_problems_are_reported_together() -> None:
    problems = problems_of(celery_app="", celery_broker="memory://", **one_worker(soft_time_limit=9, time_limit=8))
    assert len(problems) == 3


# --- what always holds ----------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,12}", fullmatch=True)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "concurrency": st.integers(1, 64),
        "instances": st.integers(1, 4),
        "time_limit": st.integers(2, 86400),
        "prefetch_multiplier": st.integers(1, 100),
        "queues": st.lists(NAMES, min_size=1, max_size=3),
        "delivery": st.sampled_from(planning.DELIVERIES),
        "profile": st.sampled_from(list(planning.PROFILES)),
        "memory_max": st.sampled_from(["512M", "1G", "64G", None]),
    },
)
WORKERS = st.dictionaries(NAMES, ENTRIES, min_size=1, max_size=6)
ENDS = ("", "-next")


@given(workers=WORKERS)
def test_whatever_is_accepted_is_consistent(workers: dict[str, Any]) -> None:
    try:
        plan = plan_of(celery_workers=workers)
    except PlanError:
        return
    units, queues = plan["units"], plan["broker"]["queues"]
    names = [unit["name"] for unit in units]
    assert len(set(names)) == len(names) == sum(entry.get("instances", 1) for entry in workers.values())
    assert len(set(plan["nodes"])) == len(plan["nodes"]) == len(units)
    assert {queue for unit in units for queue in unit["queues"]} == set(queues)
    declared = {queue["name"] for queue in plan["broker"]["objects"]["queues"]}
    assert set(queues) | {"celery.dead"} <= declared
    places = [f"{unit['template'].removesuffix('@.service')}-{unit['instance']}{end}" for unit in units for end in ENDS]
    assert len(set(places)) == len(places), "two units or twins would share a directory"
    assert len({unit["slice"] for unit in units}) == len({unit["marker"] for unit in units}) == len(workers)
    delivery: dict[str, str] = {}
    for unit in units:
        assert unit["slice"].count("-") == 2, "deeper than beside the others"
        assert all(delivery.setdefault(queue, unit["delivery"]) == unit["delivery"] for queue in unit["queues"])
        longest = unit["time_limit"] or unit["timeout_stop"]
        if unit["pool"] == "prefork":
            assert 0 < unit["soft_time_limit"] < unit["time_limit"]
            assert unit["timeout_stop"] >= unit["time_limit"] + planning.STOP_MARGIN
        assert plan["broker"]["consumer_timeout"] > longest * (unit["prefetch_multiplier"] + 1) * 1000
    assert plan["settings"]["task_default_queue"] in queues
    assert [queue["name"] for queue in plan["settings"]["task_queues"]] == queues
    assert json.loads(json.dumps(plan)) == plan


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=6,
)
VARIABLES = st.sampled_from(
    [
        "celery_app",
        "celery_workers",
        "celery_routes",
        "celery_settings",
        "celery_broker",
        "celery_default_queue",
        "celery_result_backend",
    ]
)


@given(
    changes=st.dictionaries(VARIABLES, JUNK, max_size=3),
    entry=st.dictionaries(st.sampled_from(list(planning.WORKER_KEYS)), JUNK, max_size=3),
)
def test_nonsense_is_refused_in_sentences_and_never_crashes(changes: dict[str, Any], entry: dict[str, Any]) -> None:
    values = {**SHOP, "celery_workers": {"default": entry}, **changes}
    problems: list[str] = []
    try:
        json.dumps(make_plan(values))
    except PlanError as error:
        problems = error.problems
    assert all(sentence and "\n" not in sentence for sentence in problems)
