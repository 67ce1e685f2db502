# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe, with real status files and processes; the broker is kombu's own, in memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celeryops_runtime import journal, probe
from kombu import Connection

from .conftest import Host

BROKER = "memory://probe"
UNIT = "celery-worker-critical@1"


@pytest.fixture
def ready() -> Iterator[Callable[[int], None]]:
    with Connection(BROKER) as connection:
        queue = connection.SimpleQueue("critical")

        def put(number: int) -> None:
            queue.clear()
            for _ in range(number):
                queue.put("x")

        put(0)
        yield put
        put(0)


@pytest.fixture
def victim(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A worker's main process, in the unit's control group."""
    monkeypatch.setattr(journal, "unit_name", lambda _: UNIT)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()
    assert process.stdin
    process.stdin.close()


def write(directory: Path, pid: int, **changed: Any) -> None:
    told = {"unit": UNIT, "pid": pid, "queues": ["critical"], "state": "consuming", "since": 1.0, "running": 0}
    told |= {"finished": 5, "held": 0, "quiet": 100.0, "hold": 90.0, "at": 1000.0, "node": "x", "more": 1, **changed}
    (directory / "critical-1").mkdir(exist_ok=True)
    (directory / "critical-1/status.json").write_text(json.dumps(told))


def run(tmp_path: Path) -> None:
    environ = {"CELERY_BROKER_URL": BROKER, "RUNTIME_DIRECTORY": str(tmp_path / "memory")}
    (tmp_path / "memory").mkdir(exist_ok=True)
    assert probe.run(tmp_path, environ) == 0


def test_a_worker_without_its_consumer_is_ended_at_the_second_look(
    tmp_path: Path, ready: Callable[[int], None], victim: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ready(2)
    write(tmp_path, victim.pid)
    run(tmp_path)
    assert capsys.readouterr().out == f"{UNIT}: seen for the first time: 0 running, 5 done, 2 ready\n"

    write(tmp_path, victim.pid, at=1010.0, quiet=110.0)
    run(tmp_path)
    assert "nothing new" in capsys.readouterr().out
    assert victim.poll() is None

    write(tmp_path, victim.pid, at=1040.0, quiet=140.0)
    run(tmp_path)
    assert capsys.readouterr().out == (
        f"{UNIT}: 2 messages are ready and nothing has run for 140 s: its consumer is gone; "
        f"process {victim.pid} was ended (SIGABRT), systemd starts it again\n"
    )
    assert victim.wait(10) == -6


def test_a_process_of_another_unit_is_not_touched(
    tmp_path: Path,
    ready: Callable[[int], None],
    victim: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(journal, "unit_name", lambda _: "somebody-else")
    ready(1)
    for at in (1000.0, 1060.0):
        write(tmp_path, victim.pid, at=at)
        run(tmp_path)
    assert f"process {victim.pid} is not its own any more" in capsys.readouterr().out
    assert victim.poll() is None


def test_who_is_gone_already_is_no_error(
    tmp_path: Path, ready: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    ready(1)
    for at in (1000.0, 1060.0):
        write(tmp_path, gone.pid, at=at)
        run(tmp_path)
    assert f"process {gone.pid} is gone already" in capsys.readouterr().out


def test_without_the_broker_nobody_is_judged_nor_remembered(
    tmp_path: Path,
    ready: Callable[[int], None],
    victim: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ready(1)
    write(tmp_path, victim.pid)
    run(tmp_path)
    write(tmp_path, victim.pid, at=1060.0, quiet=160.0)
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "BROKER", "amqp://user:pa55@127.0.0.1:1//")
        run(tmp_path)
    out = capsys.readouterr().out
    assert "the broker cannot be asked (ConnectionRefusedError" in out
    assert "pa55" not in out
    run(tmp_path)
    assert "seen for the first time" in capsys.readouterr().out
    assert victim.poll() is None


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"unit": "x", "queues": 5}'])
def test_a_status_that_says_nothing_is_passed_over(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/status.json").write_text(content)
    run(tmp_path)
    out = capsys.readouterr().out
    assert "status.json" in out
    assert "no worker runs on this host" in out


@pytest.mark.parametrize("content", ["{", '{"u": 5}', '{"u": {"unit": "x"}}'])
def test_a_memory_of_another_version_is_none(
    tmp_path: Path, ready: Callable[[int], None], content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/samples.json").write_text(content)
    write(tmp_path, os.getpid())
    run(tmp_path)
    assert "seen for the first time" in capsys.readouterr().out


def test_a_queue_that_is_not_there_holds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, os.getpid(), queues=["never declared"])
    run(tmp_path)
    assert "0 ready" in capsys.readouterr().out


def test_it_says_what_it_lacks(host: Host) -> None:
    (host.path / "credentials/celery_celery.json").unlink()
    done = host.run("probe", "--directory", str(host.path))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("celeryops: No broker is known here: start the probe by its unit")
