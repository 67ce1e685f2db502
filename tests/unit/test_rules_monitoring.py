# SPDX-License-Identifier: GPL-3.0-or-later
"""Preflight of the roles flower, sentry and bugsink."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils.rules import bugsink, flower, sentry

SECRET = "correct horse battery".replace(" ", "-")

FLOWER: dict[str, Any] = {
    "flower_address": "127.0.0.1",
    "flower_port": 5555,
    "flower_user": "ops",
    "flower_password": SECRET,
    "flower_broker_url": f"amqp://monitor:{SECRET}@127.0.0.1:5672/celery",
    "flower_broker_api": "http://127.0.0.1:15672/api/",
    "flower_max_tasks": 20000,
    "flower_memory_max": "512M",
    "flower_options": {},
}
SENTRY: dict[str, Any] = {
    "sentry_dsn": "https://0123abcd@errors.example.org/1",
    "sentry_environment": "production",
    "sentry_sample_rate": 0.0,
    "sentry_test_event": False,
}
BUGSINK: dict[str, Any] = {
    "bugsink_address": "10.0.0.5",
    "bugsink_port": 8000,
    "bugsink_base_url": "http://10.0.0.5:8000",
    "bugsink_admin_email": "ops@example.org",
    "bugsink_admin_password": SECRET,
    "bugsink_secret_key": SECRET * 2,
    "bugsink_project_key": "0" * 32,
    "bugsink_api_token": "a" * 40,
    "bugsink_team": "operations",
    "bugsink_project": "celery",
    "bugsink_project_id": 1,
    "bugsink_max_events": 10000,
    "bugsink_web_workers": 2,
    "bugsink_memory_max": "512M",
    "bugsink_title": "Errors",
}
VALUES: dict[Any, dict[str, Any]] = {flower: FLOWER, sentry: SENTRY, bugsink: BUGSINK}
RULES = list(VALUES.items())


@pytest.mark.parametrize(("rules", "values"), RULES, ids=["flower", "sentry", "bugsink"])
def test_sound_values_pass(rules: Any, values: dict[str, Any]) -> None:
    assert rules.problems(values) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_flower_needs_no_login_on_loopback(address: str) -> None:
    assert flower.is_loopback(address)
    assert flower.problems({**FLOWER, "flower_address": address, "flower_user": "", "flower_password": ""}) == []


@pytest.mark.parametrize("address", ["10.0.0.5", "172.17.0.2", "fd00::1"])
def test_flower_needs_a_login_elsewhere(address: str) -> None:
    assert not flower.is_loopback(address)
    assert flower.problems({**FLOWER, "flower_address": address, "flower_user": "", "flower_password": ""}) == [
        f"flower_address is {address}, so others could reach Flower, which can stop workers, without a login: "
        "set flower_user and flower_password, or set flower_address to 127.0.0.1."
    ]


FAULTS: list[tuple[Any, dict[str, Any], str]] = [
    (flower, {"flower_address": "0.0.0.0"}, "flower_address is 0.0.0.0, so every address of this host would"),  # noqa: S104
    (flower, {"flower_address": "8.8.8.8"}, "flower_address is 8.8.8.8, so a public address of this host would"),
    (flower, {"flower_port": 80}, "flower_port is 80: write a whole number from 1024 to 65535."),
    (flower, {"flower_password": "short"}, "flower_password has only 5 characters: use 12 or more."),
    (flower, {"flower_password": ""}, "flower_password is empty: set it, from a vault, to 12 characters or more."),
    (flower, {"flower_user": ""}, "flower_password is set but flower_user is empty: set both, or neither."),
    (flower, {"flower_user": "a:b"}, "flower_user contains a colon or a blank, which a basic login cannot carry"),
    (flower, {"flower_broker_url": ""}, "flower_broker_url is empty: set celery_broker, or a URL that begins with"),
    (flower, {"flower_broker_url": "sqs://"}, "flower_broker_url has a scheme that Flower cannot watch: "),
    (flower, {"flower_broker_api": "http://h:15672/api"}, "flower_broker_api is no management API: write http://"),
    (flower, {"flower_broker_api": "http://u:p@h/api/"}, "flower_broker_api contains a login: leave it out, that of"),
    (flower, {"flower_options": {"port": 1}}, "flower_options sets port, which the role sets itself: set flower_port."),
    (flower, {"flower_memory_max": "much"}, "flower_memory_max is 'much': write a size, such as 512MB or 2GB."),
    (sentry, {"sentry_sample_rate": 1.5}, "sentry_sample_rate is '1.5', which is no share: write a number from 0.0"),
    (sentry, {"sentry_sample_rate": "all"}, "sentry_sample_rate is 'all', which is no share: write a number from 0.0"),
    (sentry, {"sentry_environment": "a/b"}, "sentry_environment is 'a/b', which trackers refuse: write 1 to 64"),
    (sentry, {"sentry_dsn": "", "sentry_test_event": True}, "sentry_test_event is on but sentry_dsn is empty: set"),
    (bugsink, {"bugsink_base_url": "errors"}, "bugsink_base_url is 'errors', which is no web address: write one"),
    (bugsink, {"bugsink_base_url": "https://e.org:x"}, "bugsink_base_url is 'https://e.org:x', which is no web"),
    (bugsink, {"bugsink_base_url": "https://e.org/"}, "bugsink_base_url is 'https://e.org/': write scheme, host"),
    (bugsink, {"bugsink_admin_email": "root"}, "bugsink_admin_email is 'root', which is no e-mail address: write"),
    (bugsink, {"bugsink_project_key": ""}, "bugsink_project_key is empty: make one with 'openssl rand -hex 16'"),
    (bugsink, {"bugsink_api_token": "A" * 40}, "bugsink_api_token is not 40 digits of 0-9 and a-f: make one with"),
    (bugsink, {"bugsink_secret_key": SECRET}, "bugsink_secret_key has only 21 characters: use 32 or more."),
    (bugsink, {"bugsink_secret_key": ""}, "bugsink_secret_key is empty: set it, from a vault"),
    (bugsink, {"bugsink_team": " "}, "bugsink_team is empty: give it a name."),
]


@pytest.mark.parametrize(("rules", "change", "beginning"), FAULTS, ids=[str(next(iter(f[1].items()))) for f in FAULTS])
def test_one_fault_one_sentence(rules: Any, change: dict[str, Any], beginning: str) -> None:
    sentences = rules.problems({**VALUES[rules], **change})
    assert len(sentences) == 1
    assert sentences[0].startswith(beginning)
    assert sentences[0].endswith(".")


MALFORMED = [
    ("ftp://key@host/1", "starts with neither http:// nor https://"),
    ("key@host/1", "starts with neither http:// nor https://"),
    ("https://host/1", "has no public key before an @"),
    ("https://key@/1", "has no host after the @"),
    ("https://key@host", "does not end in a project number"),
    ("https://key@host/celery", "does not end in a project number"),
    ("https://key@host/1/", "does not end in a project number"),
    ("https://key@host/1?x=2", "goes on after the project number"),
    ("https://key@host/1\n", "contains a blank or a line break"),
    (" https://key@host/1", "contains a blank or a line break"),
    ("https://key@host:port/1", "is no web address: its host or its port is malformed"),
    ("https://key@[::1/1", "is no web address: its host or its port is malformed"),
]


@pytest.mark.parametrize(("dsn", "fault"), MALFORMED)
def test_malformed_dsn(dsn: str, fault: str) -> None:
    assert sentry.dsn_problems(dsn) == [f"sentry_dsn {fault}: {sentry.EXAMPLE}."]


@pytest.mark.parametrize(
    "dsn",
    [
        "http://k@10.0.0.5:8000/1",
        "https://k@o1.ingest.sentry.io/4507",
        "https://k:secret@host/path/2",
        "http://k@[::1]:8000/1",
    ],
)
def test_sound_dsn(dsn: str) -> None:
    assert sentry.dsn_problems(dsn) == []


def test_no_sentence_repeats_a_secret() -> None:
    names = ["flower_password", "flower_broker_url", "sentry_dsn", "bugsink_secret_key", "bugsink_api_token"]
    broken = dict.fromkeys([*names, "bugsink_project_key"], "s3cret\n")
    for rules, values in RULES:
        sentences = rules.problems({**values, **broken})
        assert sentences
        assert "s3cret" not in " ".join(sentences)
