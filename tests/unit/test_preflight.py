# SPDX-License-Identifier: GPL-3.0-or-later
"""What the preflight says of names, types, inventories and hosts; and that nothing makes it stumble."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.celeryops.stack.plugins.action import host_facts as host_action
from ansible_collections.celeryops.stack.plugins.module_utils import variables
from ansible_collections.celeryops.stack.plugins.module_utils.rules import host, inventory, values
from ansible_collections.celeryops.stack.plugins.modules import host_facts
from ansible_collections.celeryops.stack.plugins.plugin_utils import deployment
from hypothesis import given, settings
from hypothesis import strategies as st

ROLES = Path(__file__).parents[2] / "roles"
SPECS = {
    name: option
    for path in ROLES.glob("*/meta/argument_specs.yml")
    for name, option in yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"].items()
}
GIB = 1024**3


# --- names and types --------------------------------------------------------------------------------------------


class TestUnknown:
    KNOWN = ("celery_workers", "worker_surge", "app_source")
    ROLES = ("celery", "worker", "app")

    def test_a_typo_is_named_with_what_was_meant(self) -> None:
        [said] = variables.unknown(["celery_workres", "celery_workers"], self.KNOWN, self.ROLES, [])
        assert said.startswith("celery_workres is no variable of this collection (did you mean 'celery_workers'?)")
        assert "celery_own_variables" in said

    @pytest.mark.parametrize("name", ["ansible_host", "__app_thing", "workers", "shop_color", "appliance"])
    def test_other_names_are_nobody_s_business(self, name: str) -> None:
        assert variables.unknown([name], self.KNOWN, self.ROLES, []) == []

    def test_own_names_are_declared(self) -> None:
        names = ["app_color", "worker_shift_1", "worker_shift_2"]
        assert variables.unknown(names, self.KNOWN, self.ROLES, ["app_color", "worker_shift_*"]) == []
        assert len(variables.unknown(names, self.KNOWN, self.ROLES, ["app_color"])) == 2


class TestTypes:
    @pytest.mark.parametrize("name", SPECS)
    def test_the_default_is_of_the_type(self, name: str) -> None:
        option = SPECS[name]
        if not (isinstance(option["default"], str) and "{{" in option["default"]):
            assert variables.mistyped(name, option["default"], option) is None

    @pytest.mark.parametrize("name", [name for name, option in SPECS.items() if option["type"] != "raw"])
    def test_a_value_of_another_type_is_refused_and_not_shown_where_it_could_be_secret(self, name: str) -> None:
        other: dict[str, Any] = {
            "str": ["kept-quiet"],
            "path": ["kept-quiet"],
            "list": "kept-quiet",
            "dict": ["kept-quiet"],
        }
        said = variables.mistyped(name, other.get(SPECS[name]["type"], "kept quiet"), SPECS[name])
        assert said
        assert said.startswith(f"{name} is ")
        assert "; write " in said
        assert "kept-quiet" not in said or not SPECS[name].get("no_log")

    @pytest.mark.parametrize(
        ("kind", "good", "bad"),
        [
            ("int", [0, "15", -1], ["1.5", 1.5, True, None, ""]),
            ("float", [0, "0.5", 1.5], ["half", False, ""]),
            ("bool", [True, "yes", "False", 1], ["perhaps", None, []]),
            ("str", ["", "x", 5], [True, [], {}]),
            ("list", [[], ["x"]], ["x", {}]),
            ("dict", [{}], [[], "x"]),
        ],
    )
    def test_kinds(self, kind: str, good: list[Any], bad: list[Any]) -> None:
        option = {"type": kind, "default": 1}
        assert [value for value in good if variables.mistyped("x", value, option)] == []
        assert [value for value in bad if not variables.mistyped("x", value, option)] == []

    def test_choices(self) -> None:
        option = {"type": "str", "choices": ["always", "no"], "default": "no"}
        assert (
            variables.mistyped("x", "alway", option) == "x is 'alway' (did you mean 'always'?); write one of always, no"
        )

    def test_elements(self) -> None:
        option = {"type": "list", "elements": "str", "default": ["a"]}
        assert variables.mistyped("x", ["a", {"b": 1}], option) == "x: entry 2 is a mapping; write a text, in quotes"

    def test_a_login_in_an_address_is_not_shown(self) -> None:
        said = variables.mistyped("x", "https://user:kept-quiet@host", {"type": "int", "default": 1})
        assert said == "x is a text; write a whole number"


class TestTogether:
    HOSTS = ("a", "b", "c")

    def test_what_all_hosts_say_is_said_once_and_of_nobody(self) -> None:
        assert variables.together([(name, "x is wrong") for name in self.HOSTS], self.HOSTS) == ["x is wrong"]

    def test_what_some_hosts_say_is_said_once_with_their_names(self) -> None:
        found = [("a", "x is wrong"), ("c", "x is wrong"), ("b", "y is wrong"), ("a", "x is wrong")]
        assert variables.together(found, self.HOSTS) == ["a, c: x is wrong", "b: y is wrong"]

    def test_what_is_said_of_the_inventory_has_no_name(self) -> None:
        assert variables.together([("", "no host")], self.HOSTS) == ["no host"]

    def test_many_names_are_not_all_said(self) -> None:
        assert variables.some([f"w{n}" for n in range(9)]) == "w0, w1, w2, w3, w4 and 4 more"


class TestPlaceholders:
    @pytest.mark.parametrize(
        "text", ["change-me", "CHANGEME123", "secret", "my-password", "<secret>", "xxxxx", "...", "TODO"]
    )
    def test_refused(self, text: str) -> None:
        [said] = values.placeholder("flower_password", text)
        assert said.startswith("flower_password is still a placeholder")
        assert text not in said.removeprefix("flower_password")

    @pytest.mark.parametrize(
        "text", ["", "9b1f0c52e7d84a6f", "broker-password-of-a-test", "change.the.world", "setter9"]
    )
    def test_accepted(self, text: str) -> None:
        assert values.placeholder("flower_password", text) == []

    def test_the_inventories_of_this_repository_hold_none(self) -> None:
        for path in (ROLES.parent / "inventories").glob("*/group_vars/all/*.yml"):
            for name, value in (yaml.safe_load(path.read_text()) or {}).items():
                assert values.placeholder(name, value) == [], path


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MB", 512 * 1024**2), ("1 GB", GIB), ("2GiB", 2 * GIB), ("10", 10), ("x", None), (True, None)],
)
def test_sizes(text: object, size: int | None) -> None:
    assert values.bytes_of(text) == size


# --- inventories ------------------------------------------------------------------------------------------------

GROUPS = {kind: ["one"] for kind in inventory.KINDS} | {"all": ["one"], "ungrouped": []}


@pytest.mark.parametrize(
    ("groups", "hosts", "sentence"),
    [
        ({}, {"one": {}}, None),
        ({"workers": ["one"]}, {"one": {}}, None),  # besides a group 'worker' that is there
        ({"worker": [], "workers": ["one"]}, {"one": {}}, "a group 'workers', and 'worker' is empty (did you mean"),
        ({"worker": []}, {"one": {}}, "'worker' is empty, so no task would ever run"),
        (dict.fromkeys(inventory.KINDS, []), {}, "no host in any of the groups"),  # noqa: RUF024 - nobody changes it
        ({}, {"a b": {}}, "'a b' would be part of its workers' names"),
        ({}, {"a": {"ansible_host": "192.0.2.1"}, "b": {"ansible_host": "192.0.2.1"}}, "a and b are one machine"),
        ({}, {"a": {"ansible_host": "h", "ansible_port": 1}, "b": {"ansible_host": "h", "ansible_port": 2}}, None),
        ({}, {"a": {"ansible_connection": "local"}, "b": {"ansible_connection": "local"}}, None),
        ({}, {"a": {"celery_address": "10.0.0.1"}, "b": {"celery_address": "10.0.0.1"}}, "10.0.0.1 on a and b"),
        ({}, {"a": {"celery_address": "127.0.0.1"}, "b": {}}, "celery_address of a is 127.0.0.1"),
        ({}, {"a": {"celery_address": "127.0.0.1"}}, None),
        ({}, {"a": {"celery_address": "fd00::1"}}, "celery_address of a is 'fd00::1', which is no IPv4 address"),
        ({}, {"a": {}, "b": {"celery_tls": True}}, "celery_tls of b is another than that of a"),
        ({}, {"a": {"celery_vhost": "celery"}, "b": {}}, None),
        ({}, {"a": {"celery_broker_password": "x"}, "b": {}}, None),
        (
            {},
            {"a": {"celery_broker_password": "x"}, "b": {"celery_broker_password": "y"}},
            "celery_broker_password of b",
        ),
        ({"monitor": []}, {"one": {"flower_user": "ops"}}, "flower_user is set"),
        (
            {"beat": []},
            {"one": {"celery_settings": {"beat_schedule": {"x": 1}}}},
            "celery_settings.beat_schedule is set",
        ),
        ({"beat": []}, {"one": {"celery_settings": {}}}, None),
    ],
)
def test_inventory(groups: dict[str, list[str]], hosts: dict[str, Any], sentence: str | None) -> None:
    found = inventory.problems({**GROUPS, **groups}, hosts)
    assert len(found) == (1 if sentence else 0), found
    assert not sentence or sentence in found[0]


# --- hosts ------------------------------------------------------------------------------------------------------

FACTS: dict[str, Any] = {
    "system": "debian",
    "version": "12",
    "systemd": 252,
    "python_path": "/usr/bin/python3",
    "python": [3, 11, 2],
    "memory": 4 * GIB,
    "free": {"/": 10 * GIB, "/var": 10 * GIB},
    "listening": [],
    "clock": [-0.4, 0.9],
}
SERVICES: dict[str, dict[str, Any]] = {
    "rabbitmq": {
        "rabbitmq_port": 5672,
        "rabbitmq_address": "10.0.0.1",
        "rabbitmq_disk_free_limit": "1GB",
    },
    "redis": {"redis_port": "6379", "redis_address": "10.0.0.1", "redis_maxmemory": "512MB"},
    "flower": {"flower_port": 5555, "flower_address": "127.0.0.1", "flower_memory_max": "512M"},
    "worker": {},
}
PLAN = {"units": [{"worker": "bulk", "memory_max": GIB}, {"worker": "default", "memory_max": None}]}


def listener(port: int, unit: str, address: str = "127.0.0.1") -> dict[str, Any]:
    return {"listening": [{"port": port, "unit": unit, "address": address}]}


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({}, None),
        ({"version": "13"}, None),
        ({"version": "14"}, "the host runs debian 14"),
        ({"system": "rocky", "version": "9.4"}, "the host runs rocky 9.4"),
        ({"system": "", "version": ""}, "the host runs unknown"),
        ({"systemd": 251}, "the host has systemd 251"),
        ({"systemd": 0}, "the host has no systemd"),
        ({"python": [3, 10, 9]}, "a Python 3.10.9"),
        ({"python": []}, "which is not on the host"),
        ({"memory": 2 * GIB}, None),
        ({"memory": 2 * GIB - 1}, "units may take 2048M (memory_max of bulk 1024M, "),
        ({"free": {"/": 200 * 1024**2, "/var": GIB}}, "the file system / has 200M free"),
        (
            {"free": {"/": 10 * GIB, "/var/lib/rabbitmq": GIB - 1}},
            "rabbitmq_disk_free_limit needs 1024M of it in /var/lib/rabbitmq",
        ),
        ({"free": {"/": 10 * GIB, "/var/lib/redis": GIB - 1}}, "redis_maxmemory needs 1024M of it in /var/lib/redis"),
        ({"free": {"/": 10 * GIB, "/var/lib/redis-other": 5}}, None),
        ({"clock": [-5.0, 300.0]}, None),
        ({"clock": [5.1, 5.9]}, "at least 5 s ahead of this machine's"),
        ({"clock": [-61.9, -61.0]}, "at least 61 s behind this machine's"),
        (listener(5672, "rabbitmq-server.service"), None),
        (listener(5672, "qpidd.service"), "rabbitmq_port is 5672, where qpidd.service listens already"),
        (listener(5672, "qpidd.service", "10.0.0.9"), None),
        (listener(5672, "", "::"), "where a process without a unit listens already"),
        (listener(8000, "other.service"), None),
    ],
)
def test_host(facts: dict[str, Any], sentence: str | None) -> None:
    found = host.problems({**FACTS, **facts}, SERVICES, PLAN, 5)
    assert len(found) == (1 if sentence else 0), found
    assert not sentence or sentence in found[0]


def test_one_port_for_two_services() -> None:
    assert host.same_port(SERVICES) == []
    services = {**SERVICES, "bugsink": {"bugsink_port": "5555"}}
    assert host.same_port(services) == [
        "flower_port and bugsink_port are both 5555 on one host; give one of them another port"
    ]


class TestFacts:
    def test_system(self) -> None:
        assert host_facts.system_of('ID=debian\nVERSION_ID="13"\n') == {"system": "debian", "version": "13"}
        assert host_facts.system_of("") == {"system": "", "version": ""}

    def test_memory(self) -> None:
        assert host_facts.memory_of("MemTotal:        2048 kB\nMemFree: 1 kB\n") == 2048 * 1024

    def test_sockets(self) -> None:
        text = (
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
            "   0: 0100007F:1628 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 4242 1 x\n"
            "   1: 0100007F:1629 00000000:0000 01 00000000:00000000 00:00000000 00000000   105        0 4243 1 x\n"
        )
        assert host_facts.sockets_of(text) == [(5672, "127.0.0.1", "4242")]
        six = text.replace("0100007F", "0000000000000000FFFF00000100007F")
        assert host_facts.sockets_of(six) == [(5672, "127.0.0.1", "4242")]

    @pytest.mark.parametrize(
        ("cgroup", "unit"),
        [
            ("0::/system.slice/redis-server.service\n", "redis-server.service"),
            ("0::/docker/8f3a/system.slice/flower.service\n", "flower.service"),
            ("12:pids:/user.slice\n0::/user.slice/user-0.slice/session-1.scope\n", "session-1.scope"),
            ("0::/\n", ""),
        ],
    )
    def test_unit(self, cgroup: str, unit: str) -> None:
        assert host_facts.unit_of(cgroup) == unit

    def test_owners(self, tmp_path: Path) -> None:
        """systemd holds the sockets of others, too: the service wins."""
        for process, cgroup in (("1", "0::/init.scope"), ("77", "0::/system.slice/epmd.service")):
            (tmp_path / process / "fd").mkdir(parents=True)
            (tmp_path / process / "fd/3").symlink_to("socket:[4242]")
            (tmp_path / process / "cgroup").write_text(cgroup)
            (tmp_path / process / "fd/2").touch()  # no link, as one whose connection ends while it is looked at
            (tmp_path / process / "fd/4").touch()
        assert host_facts.owners({"4242", "1"}, tmp_path) == {"4242": "epmd.service"}

    def test_this_machine(self) -> None:
        """It answers on any Linux, and no system of ours has to be what is supported."""
        facts = host_facts.look("/usr/bin/python3")
        assert facts["memory"] > 0
        assert facts["free"]["/"] >= 0
        assert {"system", "version", "systemd", "listening", "time"} <= facts.keys()

    def test_the_clock_is_compared_within_the_way_there_and_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        times = iter([100.0, 103.0])
        monkeypatch.setattr(host_action.time, "time", lambda: next(times))
        assert host_action.between(lambda: {"time": 110.0}) == {"clock": [7.0, 10.0]}


# --- nothing makes it stumble -----------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ROLE_VALUES = {
    path.parts[-3]: [
        task["celeryops.stack.preflight"]["values"]
        for task in yaml.safe_load(path.read_text())
        if isinstance(task.get("celeryops.stack.preflight", {}).get("values"), dict)
    ]
    for path in ROLES.glob("*/tasks/preflight.yml")
}


def stand_in(name: str) -> Any:
    """A value of the type that the variable has."""
    kind = SPECS.get(name, {}).get("type", "str")
    return copy.deepcopy({"str": "x", "int": 1, "float": 0.5, "bool": False, "list": [], "dict": {}}.get(kind))


@pytest.mark.parametrize("role", sorted(role for role, found in ROLE_VALUES.items() if found and role != "tls"))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_has_the_right_type_ends_in_sentences(role: str, data: st.DataObject) -> None:
    given_values = {name: stand_in(name) for name in ROLE_VALUES[role][0] if name != "declaration"}
    for name in data.draw(
        st.lists(st.sampled_from(sorted(given_values)) if given_values else st.nothing(), max_size=3)
    ):
        value = data.draw(JSON)
        if name in SPECS and variables.mistyped(name, value, SPECS[name]) is None:
            given_values[name] = value
    for sentence in deployment.check(role, given_values):
        assert sentence
        assert "Traceback" not in sentence


@given(key=st.sampled_from(["celery_workers", "celery_routes", "celery_settings", "celery_broker"]), value=JSON)
@settings(max_examples=200, deadline=None)
def test_whatever_is_declared_ends_in_sentences(key: str, value: Any) -> None:
    declared = {"celery_app": "shop.celery:app", "celery_workers": {"default": {}}, key: value}
    if variables.mistyped(key, value, SPECS[key]) is None:
        assert all(deployment.check("celery", declared))


@given(
    key=st.sampled_from(["concurrency", "queues", "hosts", "pool", "memory_max", "events", "profile", "delivery"]),
    value=JSON,
)
@settings(max_examples=200, deadline=None)
def test_whatever_an_entry_holds_ends_in_sentences(key: str, value: Any) -> None:
    declared = {"celery_app": "shop.celery:app", "celery_workers": {"default": {key: value}}}
    assert all(deployment.check("celery", declared))
