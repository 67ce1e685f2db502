# SPDX-License-Identifier: GPL-3.0-or-later
"""Flower's launcher, as far as it works without Flower."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).resolve().parents[2] / "roles/flower/files/launcher.py"


@pytest.fixture(scope="module")
def launcher() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flower_launcher", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_the_settings_of_a_watcher(launcher: ModuleType) -> None:
    settings = {
        "accept_content": ["json"],
        "broker_transport_options": {"confirm_publish": True, "read_timeout": 20},
        "broker_heartbeat": 10,
        "event_queue_ttl": 5,
        "task_queues": [{"name": "critical"}],
        "task_default_queue": "default",
        "worker_prefetch_multiplier": 1,
    }
    assert launcher.celery_settings(settings, "amqp://h") == {
        "accept_content": ["json"],
        "broker_transport_options": {"read_timeout": 20},
        "broker_heartbeat": 10,
        "broker_url": "amqp://h",
        "event_queue_ttl": 5,
        "task_default_queue": "default",
    }


def test_sentinels_are_asked_as_the_plan_says_with_the_login_of_the_url(launcher: ModuleType) -> None:
    asking = {"socket_timeout": 1.0, "ssl": True, "ssl_ca_certs": "/etc/celery/tls-ca.pem"}
    settings = {"broker_transport_options": {"master_name": "celery", "sentinel_kwargs": asking}}
    found = launcher.celery_settings(settings, "sentinel://me:p%40ss@10.0.0.1:26379/0;sentinel://me:p%40ss@10.0.0.2/0")
    login = {"username": "me", "password": "p@ss"}
    assert found["broker_transport_options"]["sentinel_kwargs"] == {**asking, **login}


@pytest.mark.parametrize("header", ["", "Basic ", "Basic b3BzOndyb25n", "basic b3BzOnNlY3JldA==", "Bearer x", "ö"])
def test_nobody_else_enters(launcher: ModuleType, header: str) -> None:
    assert not launcher.may_enter(header, launcher.login_header("ops", "secret"))


def test_the_login_enters(launcher: ModuleType) -> None:
    assert launcher.login_header("ops", "secret") == "Basic b3BzOnNlY3JldA=="
    assert launcher.may_enter("Basic b3BzOnNlY3JldA==", launcher.login_header("ops", "secret"))
    assert launcher.may_enter(launcher.login_header("ops", "gänse"), launcher.login_header("ops", "gänse"))


def test_config_comes_from_the_credential(launcher: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "flower.json").write_text(json.dumps({"user": "ops"}))
    assert launcher.read_config({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == {"user": "ops"}


def test_notify(launcher: ModuleType, tmp_path: Path) -> None:
    launcher.notify("READY=1", {})  # not under systemd: nothing to tell
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "n"))
        launcher.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "n")})
        assert listener.recv(64) == b"READY=1"
