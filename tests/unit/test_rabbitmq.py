# SPDX-License-Identifier: GPL-3.0-or-later
"""What a RabbitMQ node lacks, and how that is sent."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import rabbitmq, rabbitmqctl
from ansible_collections.celeryops.stack.plugins.module_utils.plan import make_plan
from hypothesis import given
from hypothesis import strategies as st

QUEUES = st.from_regex(r"[a-y][a-y0-9_-]{0,8}", fullmatch=True)
PASSWORD = "-".join(["a", "long", "password"])
RIGHTS = {"configure": "^a$", "write": "^b$", "read": "^c$"}
OBJECTS: dict[str, list[dict[str, Any]]] = {
    "exchanges": [{"vhost": "shop", "name": "celery", "type": "topic"}],
    "queues": [{"vhost": "shop", "name": "default", "arguments": {"x-queue-type": "quorum"}}],
    "bindings": [{"vhost": "shop", "source": "celery", "destination": "default", "routing_key": "default"}],
    "policies": [{"vhost": "shop", "name": "dead", "pattern": "^default$", "definition": {"delivery-limit": 20}}],
}


def wanted(**objects: list[dict[str, Any]]) -> rabbitmq.Definitions:
    user = {"name": "celery", "password": PASSWORD, "tags": ["b", "a"], "permissions": RIGHTS}
    return rabbitmq.desired("shop", [user], {**OBJECTS, **objects})


def sent(document: rabbitmq.Definitions) -> rabbitmq.Definitions:
    """The node's definitions once everything that was missing has been imported."""
    return copy.deepcopy(rabbitmq.compare({}, document).to_import)


class TestPasswords:
    def test_the_hash_is_that_of_the_documentation(self) -> None:
        # https://www.rabbitmq.com/docs/passwords#computing-password-hash
        hashed = rabbitmq.password_hash("test12", bytes.fromhex("908DC60A"))
        assert hashed == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"

    def test_salts_differ_and_both_match(self) -> None:
        first, second = rabbitmq.password_hash(PASSWORD), rabbitmq.password_hash(PASSWORD)
        assert first != second
        assert all(rabbitmq.password_matches(PASSWORD, {"password_hash": each}) for each in (first, second))

    @pytest.mark.parametrize("stored", ["", None, "no base64!", "AAAA", rabbitmq.password_hash("another", b"salt")])
    def test_what_does_not_match(self, stored: str | None) -> None:
        assert not rabbitmq.password_matches(PASSWORD, {"password_hash": stored})

    def test_another_algorithm_is_replaced(self) -> None:
        user = {"password_hash": rabbitmq.password_hash(PASSWORD), "hashing_algorithm": "rabbit_password_hashing_md5"}
        assert not rabbitmq.password_matches(PASSWORD, user)


class TestCompare:
    def test_an_empty_node_gets_everything_once(self) -> None:
        changes = rabbitmq.compare({}, wanted())
        assert changes
        assert {kind: len(items) for kind, items in changes.to_import.items()} == dict.fromkeys(rabbitmq.IDENTITY, 1)
        assert not rabbitmq.compare(sent(wanted()), wanted())

    def test_the_whole_plan_converges(self) -> None:
        values = {"celery_app": "shop.celery:app", "celery_workers": {"default": {}, "bulk": {}}}
        document = rabbitmq.desired("celery", [], make_plan(values)["broker"]["objects"])
        assert not rabbitmq.compare(sent(document), document)

    def test_no_password_leaves_in_the_clear(self) -> None:
        changes = rabbitmq.compare({}, wanted())
        assert PASSWORD not in repr(changes)

    def test_what_else_exists_stays(self) -> None:
        node = sent(wanted())
        node["queues"].append({"vhost": "shop", "name": "precious", "arguments": {}})
        node["users"].append({"name": "somebody", "tags": "administrator"})
        assert not rabbitmq.compare(node, wanted(), ["guest"])

    def test_only_what_differs_is_sent(self) -> None:
        node = sent(wanted())
        node["policies"][0]["definition"] = {"delivery-limit": 3}
        changes = rabbitmq.compare(node, wanted())
        assert list(changes.to_import) == ["policies"]
        assert '"delivery-limit": 3' in changes.before["policy dead in shop"]
        assert '"delivery-limit": 20' in changes.after["policy dead in shop"]

    def test_another_password_is_told_but_not_shown(self) -> None:
        node = sent(wanted())
        node["users"][0]["password_hash"] = rabbitmq.password_hash("the-old-password")
        changes = rabbitmq.compare(node, wanted())
        assert changes.before == {"user celery": "tags a, b; password another one"}
        assert changes.after == {"user celery": "tags a, b; password as wanted"}

    def test_tags_of_old_versions_are_text(self) -> None:
        node = sent(wanted())
        node["users"][0]["tags"] = "a,b"
        assert not rabbitmq.compare(node, wanted())

    def test_rights_are_replaced(self) -> None:
        node = sent(wanted())
        node["permissions"][0]["read"] = ".*"
        assert list(rabbitmq.compare(node, wanted()).to_import) == ["permissions"]

    def test_guest_goes(self) -> None:
        node = sent(wanted())
        node["users"].append({"name": "guest", "tags": ["administrator"]})
        assert rabbitmq.compare(node, wanted(), ["guest"]).to_delete == ["guest"]

    def test_a_wanted_user_is_never_removed(self) -> None:
        assert rabbitmq.compare(sent(wanted()), wanted(), ["celery"]).to_delete == []


class TestRetired:
    """A queue that was taken out of the declaration."""

    PATTERN = "^(default|bulk)$"

    @staticmethod
    def document(*queues: str, pattern: str = PATTERN) -> rabbitmq.Definitions:
        user = {"name": "celery", "password": PASSWORD, "tags": [], "permissions": dict.fromkeys(RIGHTS, pattern)}
        objects: dict[str, list[dict[str, Any]]] = {
            **OBJECTS,
            "queues": [{"vhost": "shop", "name": name} for name in queues],
            "bindings": [
                {"vhost": "shop", "source": "celery", "destination": name, "routing_key": key}
                for name in queues
                for key in (name, f"#.{name}")
            ],
            "policies": [
                {"vhost": "shop", "name": "all", "pattern": pattern, "definition": {"delivery-limit": 20}},
                {"vhost": "shop", "name": "one", "pattern": "^default$", "definition": {}},
            ],
        }
        return rabbitmq.desired("shop", [user], objects)

    def test_is_found_by_its_binding(self) -> None:
        node = sent(self.document("default", "bulk", "old.one"))
        node["queues"].append({"vhost": "shop", "name": "foreign"})
        node["bindings"].append({"vhost": "shop", "source": "celery", "destination": "foreign", "routing_key": "#"})
        node["bindings"].append({"vhost": "shop", "source": "celery", "destination": "gone", "routing_key": "gone"})
        found = rabbitmq.retired(node, self.document("default", "bulk"))
        assert found == {("shop", "old.one"): {"default", "bulk"}}
        assert rabbitmq.retired({}, self.document("default")) == {}

    def test_keeps_what_covers_all_its_siblings_and_nothing_else(self) -> None:
        document = self.document("default", "bulk")
        node = sent(self.document("default", "bulk", "old.one"))
        kept = rabbitmq.with_retired(document, rabbitmq.retired(node, document))
        everything, one = kept["policies"]
        assert everything["pattern"] == self.PATTERN + r"|^old\.one$"
        assert one["pattern"] == "^default$"
        assert {kept["permissions"][0][right] for right in RIGHTS} == {self.PATTERN + r"|^old\.one$"}
        assert document["policies"][0]["pattern"] == self.PATTERN, "the declaration was changed"
        assert rabbitmq.with_retired(kept, rabbitmq.retired(node, kept)) == kept

    def test_is_forgotten_once_it_is_deleted(self) -> None:
        document = self.document("default", "bulk")
        assert rabbitmq.with_retired(document, rabbitmq.retired(sent(document), document)) == document

    def test_a_right_that_does_not_cover_the_siblings_is_not_widened(self) -> None:
        document = self.document("default", "bulk", pattern="^bulk$")
        node = sent(self.document("default", "bulk", "old"))
        assert rabbitmq.with_retired(document, rabbitmq.retired(node, document)) == document

    def test_a_pattern_that_only_rabbitmq_understands_is_left_alone(self) -> None:
        document = self.document("default", "bulk", pattern="^(?|default|bulk)$")
        node = sent(self.document("default", "bulk", "old"))
        assert rabbitmq.with_retired(document, rabbitmq.retired(node, document)) == document

    @given(st.lists(QUEUES, min_size=2, max_size=5, unique=True), st.data())
    def test_the_plans_own_patterns_keep_every_retired_queue(self, names: list[str], data: st.DataObject) -> None:
        left = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))

        def declared(queues: list[str]) -> tuple[rabbitmq.Definitions, dict[str, Any]]:
            values = {"celery_app": "a:b", "celery_workers": {"w": {"queues": queues}}}
            broker = make_plan(values)["broker"]
            user = {"name": "c", "password": PASSWORD, "tags": [], "permissions": broker["permissions"]["worker"]}
            monitor = {**user, "name": "m", "permissions": broker["permissions"]["monitor"]}
            return rabbitmq.desired("celery", [user, monitor], broker["objects"]), broker

        document, _ = declared(left)
        node, broker = sent(declared(names)[0]), declared(left)[1]
        found = rabbitmq.retired(node, document)
        assert set(found) == {("celery", name) for name in names if name not in left}
        kept = rabbitmq.with_retired(document, found)
        policies = {policy["name"]: policy["pattern"] for policy in kept["policies"]}
        rights = {right["user"]: right for right in kept["permissions"]}
        for name in names:
            assert re.search(policies["celery"], name)
            assert all(re.search(rights["c"][right], name) for right in RIGHTS)
        for other in ("celery.dead", "celery_delayed_1"):
            assert not re.search(policies["celery"], other)
        assert all(rights["m"][right] == broker["permissions"]["monitor"][right] for right in RIGHTS)
        assert all(not re.search(rights["c"][right], "z.stranger") for right in RIGHTS)

    def test_one_sentence_names_them_and_what_they_hold(self) -> None:
        sentence = rabbitmq.leftover([{"name": "a", "messages": 0}, {"name": "b", "messages": 7}])
        assert "a (0 messages), b (7 messages)" in sentence
        assert "playbooks/delete_queue.yml" in sentence


class TestDeletion:
    EMPTY: ClassVar[dict[str, int]] = {"ready": 0, "held": 0, "consumers": 0}

    @pytest.mark.parametrize(
        ("queue", "found", "sentence"),
        [
            ("", None, "write -e queue=NAME"),
            ("a b", None, "is no queue of Celery's"),
            ("default", EMPTY, "is declared: take it out of celery_workers"),
            ("old", None, "RabbitMQ has no queue old in celery"),
            ("old", {**EMPTY, "consumers": 2}, "has 2 consumers, which would lose it"),
            ("old", {**EMPTY, "ready": 3}, "holds 3 messages, 0 of them with somebody"),
            ("old", {**EMPTY, "held": 1}, "holds 1 messages, 1 of them with somebody"),
        ],
    )
    def test_refused(self, queue: str, found: dict[str, int] | None, sentence: str) -> None:
        refusal = rabbitmq.may_be_deleted(queue, "celery", ["default"], found, with_messages=False)
        assert refusal is not None
        assert sentence in refusal

    def test_allowed(self) -> None:
        assert rabbitmq.may_be_deleted("old", "celery", ["default"], self.EMPTY, with_messages=False) is None
        full = {**self.EMPTY, "ready": 3}
        assert rabbitmq.may_be_deleted("old", "celery", ["default"], full, with_messages=True) is None

    def test_consumers_lose_nothing_even_when_messages_may_go(self) -> None:
        busy = {**self.EMPTY, "consumers": 1}
        assert "consumers" in str(rabbitmq.may_be_deleted("old", "celery", [], busy, with_messages=True))

    def test_a_name_reaches_erlang_as_bytes(self) -> None:
        assert rabbitmqctl.text('a"\u00e4') == "<<97,34,195,164>>"


class TestConflicts:
    def test_a_queue_of_another_type_is_one_sentence(self) -> None:
        node = sent(wanted())
        node["queues"][0]["arguments"] = {}
        changes = rabbitmq.compare(node, wanted())
        assert not changes.to_import
        assert changes.conflicts == [
            "The queue default in shop exists with x-queue-type classic instead of quorum, which RabbitMQ cannot "
            "change in place, and nothing is ever deleted here: empty and delete it by hand, or give the new one "
            "another name."
        ]

    def test_a_queue_without_a_type_is_a_classic_one(self) -> None:
        document = wanted(queues=[{"vhost": "shop", "name": "old"}])
        node = sent(document)
        node["queues"][0]["arguments"] = {"x-queue-type": "classic"}
        assert not rabbitmq.compare(node, document).conflicts
        assert not rabbitmq.compare(node, document)

    def test_an_exchange_of_another_type(self) -> None:
        node = sent(wanted())
        node["exchanges"][0]["type"] = "direct"
        assert "type direct instead of topic" in rabbitmq.compare(node, wanted()).conflicts[0]

    def test_flags_and_missing_arguments(self) -> None:
        node = sent(wanted())
        node["queues"][0].update(durable=False, arguments={"x-queue-type": "quorum", "x-max-length": 5})
        sentence = rabbitmq.compare(node, wanted()).conflicts[0]
        assert "durable false instead of true" in sentence
        assert "x-max-length 5 instead of none" in sentence


class TestApi:
    @pytest.mark.parametrize(
        ("address", "url"),
        [
            ("10.0.0.5", "http://10.0.0.5:15672"),
            ("0.0.0.0", "http://127.0.0.1:15672"),  # noqa: S104
            ("::", "http://[::1]:15672"),
            ("fd00::5", "http://[fd00::5]:15672"),
        ],
    )
    def test_url(self, address: str, url: str) -> None:
        assert rabbitmq.api_url(address, 15672) == url

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b'{"error":"bad_request","reason":"no such vhost"}', "no such vhost (HTTP 400)"),
            (b'{"error":"bad_request"}', "bad_request (HTTP 400)"),
            (b"<html>", "HTTP 400"),
            (b"[]", "HTTP 400"),
        ],
    )
    def test_reason(self, body: bytes, said: str) -> None:
        assert rabbitmq.reason(400, body) == said


class TestTools:
    @staticmethod
    def tool(folder: Path, script: str) -> str:
        tool = folder / "rabbitmqctl"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        return str(tool)

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("printf 'Error:\\n{:no_such_user, \"gone\"}\\n' >&2; exit 69", '{:no_such_user, "gone"}'),
            ("echo 'Stack trace:'; echo 'Error:' >&2; echo 'it is so' >&2; exit 70", "it is so Stack trace:"),
            ("echo 'nothing on the other one'; exit 65", "nothing on the other one"),
            ('echo "refused: $3" >&2; exit 65', "refused: ***"),
            ("exit 64", "exit status 64"),
        ],
    )
    def test_the_whole_reason_is_told_without_secrets(self, tmp_path: Path, script: str, reason: str) -> None:
        with pytest.raises(rabbitmqctl.Failure) as failure:
            rabbitmqctl.call(self.tool(tmp_path, script), 20, "import_definitions", PASSWORD, secrets=[PASSWORD, ""])
        assert str(failure.value) == f"rabbitmqctl import_definitions failed: {reason}"

    def test_definitions_are_imported_without_a_trace(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rabbitmqctl, "RUN", str(tmp_path))
        monkeypatch.setattr("shutil.chown", lambda name, user: None)
        hashed = rabbitmq.password_hash(PASSWORD)
        document = {"users": [{"name": "celery", "password_hash": hashed}]}
        with pytest.raises(rabbitmqctl.Failure) as failure:
            rabbitmqctl.import_definitions(self.tool(tmp_path, 'cat "$3"; stat -c %a "$3"; exit 1'), document, 20)
        assert str(failure.value) == (
            'rabbitmqctl import_definitions failed: {"users": [{"name": "celery", "password_hash": "***"}]}600'
        )
        assert [path.name for path in tmp_path.iterdir()] == ["rabbitmqctl"]
