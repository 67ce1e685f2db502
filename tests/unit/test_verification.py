# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure half of the tests of a deployment: what is read, and what is expected."""

from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.plan import make_plan
from verification import expected, facts, parsing
from verification.facts import Deployment, Host
from verification.waiting import poll

ANY = "0.0.0.0"  # noqa: S104 - nothing is bound to it
SS = """\
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=46,fd=3))
LISTEN 0 128 127.0.0.53%lo:53 0.0.0.0:*
LISTEN 0 128 [::ffff:127.0.0.1]:5672 *:* users:(("beam.smp",pid=2,fd=1))
LISTEN 0 128 *:8099 *:* users:(("python3",pid=9,fd=3))
"""


def host(*groups: str, **variables: Any) -> Host:
    declared = {"celery_app": facts.SHOP, "celery_workers": {"bulk": {"instances": 2}, "fast": {"queues": ["bulk"]}}}
    plan = make_plan(declared, "here")
    given = {
        "celery_plan": plan,
        "celery_user": "celery",
        "celery_process_sandbox": {},
        "celery_service_options": {},
        "celery_sentry_dsn": "",
        **variables,
    }
    return Host("here", frozenset(groups), {}, given)


def test_listeners_are_read_and_told_apart() -> None:
    found = parsing.listeners(SS)
    assert [(listener.address, listener.port, listener.loopback) for listener in found] == [
        (ANY, 22, False),
        ("127.0.0.53", 53, True),
        ("::ffff:127.0.0.1", 5672, True),
        ("*", 8099, False),
    ]
    assert str(found[3]) == "python3 on *:8099"
    assert found[3].within(ANY, 8099)
    assert not found[3].within("10.0.0.1", 8099)


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("5min 30s", 330), ("1h 2min", 3720), ("500ms", 0.5), ("0", 0), ("infinity", float("inf"))],
)
def test_time_spans(span: str, seconds: float) -> None:
    assert parsing.seconds(span) == seconds


def test_blocks_of_systemctl_show() -> None:
    text = "Id=a.service\nNRestarts=0\nEnvironment=A=1\n\nId=b.service\nNRestarts=2\n"
    assert parsing.shown(text) == {
        "a.service": {"Id": "a.service", "NRestarts": "0", "Environment": "A=1"},
        "b.service": {"Id": "b.service", "NRestarts": "2"},
    }


def test_a_command_and_its_options() -> None:
    shown = "{ path=/v/bin/python ; argv[]=/v/bin/python -m x -- --queues=a,b --events ; ignore_errors=no ; pid=7 }"
    words = parsing.command(shown)
    assert words[0] == "/v/bin/python"
    assert parsing.options(words) == {"queues": "a,b", "events": ""}
    assert parsing.command("") == []


def test_secrets_are_found_by_name_and_long_enough_to_search_for() -> None:
    found = facts.secrets(
        {
            "celery_broker_password": "has/slash",
            "celery_monitor_password": "short",
            "celery_sentry_dsn": "https://publickey@sentry.example/1",
            "celery_secret_environment": {"STRIPE": "sk_live_1234"},
            "flower_user": "somebody else",
        }
    )
    assert found == {
        "celery_broker_password": "has/slash",
        "celery_broker_password (in a URL)": "has%2Fslash",
        "celery_sentry_dsn": "https://publickey@sentry.example/1",
        "celery_sentry_dsn (in a URL)": "https%3A%2F%2Fpublickey%40sentry.example%2F1",
        "celery_sentry_dsn (its key)": "publickey",
        "celery_secret_environment.STRIPE": "sk_live_1234",
    }


def test_features_follow_from_the_declaration() -> None:
    one = host("worker", "broker", "backend")
    assert Deployment((one,)).features == {"shop", "one_store", "bulk_apart", "rabbitmq", "redis"}
    assert Deployment((one, host("worker"))).features == {"shop", "bulk_apart", "rabbitmq", "redis"}
    monitor = host("monitor", "tracker", flower_user="ops", bugsink_project_key="k", celery_sentry_dsn="http://k@b/1")
    assert Deployment((monitor,)).features == {"flower_login", "tracked", "bulk_apart"}


def test_services_and_consumers() -> None:
    worker = host("worker", "beat")
    assert expected.services(worker) == [
        "celery-beat.service",
        "celery-workers.target",
        "celery-probe.timer",
        "celery-worker-bulk@1.service",
        "celery-worker-bulk@2.service",
        "celery-worker-fast@1.service",
    ]
    assert expected.consumers(Deployment((worker,))) == {"bulk": 3}


def test_properties_that_agree_and_that_do_not() -> None:
    unit = host("worker").plan["units"][0]
    wanted = expected.worker_properties(host("worker", celery_process_sandbox={"PrivateTmp": True}), unit)
    assert wanted["MemoryMax"] == "infinity"
    assert expected.agrees("PrivateTmp", "yes", wanted["PrivateTmp"])
    assert expected.agrees("TimeoutStopUSec", "5min 30s", wanted["TimeoutStopUSec"])
    assert not expected.agrees("TimeoutStopUSec", "1min 30s", wanted["TimeoutStopUSec"])
    assert expected.agrees("RestrictAddressFamilies", "AF_INET AF_UNIX", "AF_UNIX AF_INET")
    assert not expected.agrees("TasksMax", "", wanted["TasksMax"])


def test_how_open_units_are_and_may_be() -> None:
    text = (
        "→ Overall exposure level for a@1.service: 1.4 OK :-)\n\n→ Overall exposure level for b.service: 9.6 UNSAFE\n"
    )
    assert parsing.exposure(text) == {"a@1.service": 1.4, "b.service": 9.6}
    closed = expected.exposure(host("worker", "monitor", flower_service_options={}))
    assert closed["celery-worker-bulk@2.service"] == closed["celery-probe.service"] == 2.0
    assert closed["flower.service"] == 2.5
    opened = expected.exposure(host("worker", celery_service_options={"ProtectHome": False}))
    assert list(opened) == ["celery-probe.service"]


def test_options_of_a_worker_of_another_kind() -> None:
    unit = host("worker").plan["units"][0]
    assert not {"delivery", "no-events"} & set(expected.worker_options(unit))
    other = expected.worker_options({**unit, "delivery": "at_most_once", "events": False})
    assert (other["delivery"], other["no-events"], other["stop-timeout"]) == ("at_most_once", "", "330")


def test_a_retired_queue_is_no_fault_of_the_broker() -> None:
    own = {"destination": "old.one", "routing_key": "#.old.one"}
    stray = {"destination": "old.one", "routing_key": "bulk"}
    assert expected.by_own_name(own)
    assert not expected.by_own_name(stray)
    rights = dict.fromkeys(("configure", "write", "read"), r"^bulk$|^old\.one$")
    found = {"bindings": [own], "policies": [{"pattern": r"^bulk$|^old\.one$|^new$"}], "permissions": [rights]}
    shown = expected.without_retired(found, {"queues": ["bulk"]})
    assert shown["policies"] == [{"pattern": "^bulk$|^new$"}]
    assert set(shown["permissions"][0].values()) == {"^bulk$"}
    assert found["permissions"] == [rights]


def test_an_object_that_lacks_something_is_lacking() -> None:
    planned = {"name": "bulk", "arguments": {"x-queue-type": "quorum"}}
    assert not expected.lacking(planned, [{"name": "other"}, {**planned, "durable": True}])
    assert expected.lacking(planned, [{"name": "bulk", "arguments": {}}])


def test_polling_ends_with_the_answer_or_with_the_time() -> None:
    answers = iter([0, 0, 7])
    assert poll(lambda: next(answers), timeout=5, pause=0) == 7
    assert poll(lambda: 0, timeout=0) == 0
