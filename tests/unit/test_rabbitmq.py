# SPDX-License-Identifier: GPL-3.0-or-later
"""What a RabbitMQ node lacks, and how that is sent."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import rabbitmq
from ansible_collections.celeryops.stack.plugins.module_utils.plan import make_plan

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

    @pytest.mark.parametrize("stored", ["", None, "no base64!", "AAAA", rabbitmq.password_hash("another")])
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
