# SPDX-License-Identifier: GPL-3.0-or-later
"""A small app on disk, a notification socket, and workers in processes of their own."""

import array
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

RUNTIME = Path(__file__).parents[3] / "roles/runtime/files"

APP = """
import logging, os, time
from celery import Celery
from celery.utils.log import get_task_logger
from kombu.transport.filesystem import Transport

look = Transport.drain_events

def look_more_often(self, connection, timeout=None):
    return look(self, connection, timeout=timeout and min(timeout, 0.2))

# A broker would wake the worker; with files it looks up only every two seconds to see whether it is to stop.
Transport.drain_events = look_more_often
own = {"worker_prefetch_multiplier": 7, "worker_timer_precision": 0.2}
app = Celery("shop", broker="memory://wrong", config_source=own)
app.conf.task_acks_late = False
log, plain = get_task_logger(__name__), logging.getLogger("plain")

@app.task(name="shop.charge")
def charge(order):
    log.info("charging %s", order)
    plain.warning("plain %s", order)
    print(f"printed {order}")
    if order == "bad":
        raise ValueError("no money")
    return {"pid": os.getpid(), "notify": os.environ.get("NOTIFY_SOCKET"), "secret": os.environ.get("SHOP_SECRET"),
            "acks_late": app.conf.task_acks_late, "confirm": dict(app.conf.broker_transport_options)}

@app.task(name="shop.block")
def block(seconds):
    time.sleep(seconds)
    return "done"
"""


class Notifications:
    """What a service manager would hear."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def wait_for(self, text: str, timeout: float = 30) -> str:
        """The first message not yet looked at that holds this text."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                message = self._socket.recv(65536).decode()
            except TimeoutError:
                break
            self.heard.append(message)
            if text in message:
                return message
        raise AssertionError(f"no {text!r} among {self.heard}")

    def close(self) -> None:
        self._socket.close()


def parse(entry: bytes) -> dict[str, str]:
    """The journal's side of the protocol."""
    fields = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + size], entry[9 + size :]
        fields[name.decode()] = value.decode()
    return fields


class Journald:
    """What the journal would get."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)

    def entry(self) -> dict[str, str]:
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, 64)
        for _, _, rights in ancillary:
            (fd,) = array.array("i", rights)
            with open(fd, "rb") as file:
                file.seek(0)
                data = file.read()
        return parse(data)

    def entries(self) -> Iterator[dict[str, str]]:
        """All that came and was not looked at yet."""
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                yield self.entry()


@dataclass
class Host:
    """One host's files, and commands run on it."""

    path: Path
    notifications: Notifications
    environment: dict[str, str]
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def log(self) -> str:
        return (self.path / "log").read_text()

    def settings(self, **settings: object) -> None:
        (self.path / "settings.json").write_text(json.dumps({"app": "shop:app", "settings": settings}))

    def credential(self, name: str, **content: object) -> None:
        (self.path / "credentials" / f"celery_{name}.json").write_text(json.dumps(content))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        with (self.path / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celeryops_runtime", *arguments],
                cwd=self.path,
                env={**self.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.processes.append(process)
        return process

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "celeryops_runtime", *arguments],
            cwd=self.path,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def python(self, code: str, **environment: str) -> str:
        """What this program prints when it runs with the app's credentials and settings."""
        done = self.run("exec", "--", sys.executable, "-c", code, **environment)
        assert done.returncode == 0, f"{done.stderr}\nlog:\n{self.log if self.processes else ''}"
        return done.stdout.strip()


@pytest.fixture
def notifications(tmp_path: Path) -> Iterator[Notifications]:
    made = Notifications(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "journal")
    yield made
    made.socket.close()


@pytest.fixture
def host(tmp_path: Path, notifications: Notifications) -> Iterator[Host]:
    (tmp_path / "shop.py").write_text(APP)
    for name in ("credentials", "queue", "control", "results"):
        (tmp_path / name).mkdir()
    made = Host(
        tmp_path,
        notifications,
        {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{RUNTIME}:{tmp_path}",
            "PYTHONUNBUFFERED": "1",
            "CELERYOPS_SETTINGS": str(tmp_path / "settings.json"),
            "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
            "NOTIFY_SOCKET": str(notifications.path),
        },
    )
    made.settings(
        task_acks_late=True,
        task_default_queue="critical",
        task_queues=[
            {"name": "critical", "exchange": "critical", "exchange_type": "direct", "routing_key": "critical"}
        ],
        broker_transport_options={
            "data_folder_in": str(tmp_path / "queue"),
            "data_folder_out": str(tmp_path / "queue"),
            "control_folder": str(tmp_path / "control"),
            "polling_interval": 0.1,
            "confirm_publish": True,
        },
        broker_connection_retry_on_startup=True,
    )
    made.credential(
        "celery",
        broker_url="filesystem://",
        result_backend=f"file://{tmp_path}/results",
        environment={"SHOP_SECRET": "s3cret"},
    )
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


@pytest.fixture
def stop() -> Callable[[subprocess.Popen[str]], int]:
    def stopped(process: subprocess.Popen[str]) -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=30)

    return stopped
