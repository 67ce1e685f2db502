# SPDX-License-Identifier: GPL-3.0-or-later
"""Real workers and a real beat, with Celery's filesystem transport."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from .conftest import Host, Journald

Stop = Callable[[subprocess.Popen[str]], int]
RUN = "from shop import *; import json; print(json.dumps({}.delay({!r}).get(timeout=20{})))"


def start_worker(
    host: Host,
    pool: str = "prefork",
    options: Sequence[str] = (),
    node: str = "critical-1@here",
    **environment: str,
) -> subprocess.Popen[str]:
    celery = ["-n", node, "-Q", "critical", f"--pool={pool}", "--concurrency=2", "--loglevel=INFO"]
    process = host.start("worker", "--app", "shop:app", *options, "--", *celery, **environment)
    assert "STATUS=consuming critical" in host.notifications.wait_for("READY=1")
    return process


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_runs_unchanged_code_with_the_hosts_settings_and_secrets(host: Host, stop: Stop, pool: str) -> None:
    worker = start_worker(host, pool)

    result = json.loads(host.python(RUN.format("charge", "A1", "")))

    assert result["secret"] == "s3cret"
    assert result["acks_late"] is True
    assert result["confirm"]["confirm_publish"] is True, "tasks publish with confirms, in every pool"
    assert result["notify"] is None
    assert (result["pid"] == worker.pid) == (pool == "threads")
    assert stop(worker) == 0
    assert "STOPPING=1" in host.notifications.wait_for("STOPPING=1")
    assert "The host's settings replace the app's own: broker_url, task_acks_late" in host.log


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_each_line_of_a_task_carries_its_name_and_id(host: Host, stop: Stop, pool: str) -> None:
    worker = start_worker(host, pool)
    code = "from shop import *; r = charge.delay('bad'); r.get(propagate=False, timeout=20); print(r.id)"

    name = f"shop.charge[{host.python(code)}]"

    stop(worker)
    for text in (f"{name}: charging bad", f"{name}: plain bad", f"{name}: printed bad", f"Task {name} received"):
        assert host.log.count(text) == 1, host.log
    assert f"Task {name} raised unexpected: ValueError('no money')\nTraceback" in host.log


#: As many Django projects have it; dictConfig disables every logger that is there already.
LOGGING = """
import logging.config
app.conf.worker_hijack_root_logger = False
logging.config.dictConfig({
    "version": 1,
    "formatters": {"own": {"format": "%(levelname)s| %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "own"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"plain": {"handlers": ["console"], "propagate": False}},
})
"""
#: The journal of these tests instead of systemd's.
JOURNAL = "from celeryops_runtime.journal import Journal; Journal.__init__.__defaults__ = ({!r},)"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("app", ["", LOGGING], ids=["celerys-logging", "djangos-logging"])
def test_the_journals_fields_do_not_depend_on_the_applications_logging(
    host: Host, journald: Journald, stop: Stop, app: str, pool: str
) -> None:
    before, loggers, tasks = (host.path / "shop.py").read_text().partition("log, plain =")
    (host.path / "shop.py").write_text(before + app + loggers + tasks)
    (host.path / "sitecustomize.py").write_text(JOURNAL.format(str(host.path / "journal")))
    log = host.path / "log"
    log.touch()
    worker = start_worker(host, pool, JOURNAL_STREAM=f"{log.stat().st_dev}:{log.stat().st_ino}")
    code = "from shop import *; r = charge.delay('bad'); r.get(propagate=False, timeout=20); print(r.id)"

    task_id = host.python(code)

    stop(worker)
    entries = [each for each in journald.entries() if each.get("CELERY_TASK_ID") == task_id]
    for text, level in (("received", 6), ("charging bad", 6), ("plain bad", 4), ("printed bad", 4), ("no money", 3)):
        found = [each for each in entries if text in each["MESSAGE"]]
        assert [(each["PRIORITY"], each["CELERY_TASK_NAME"], each["CELERY_NODE"]) for each in found] == [
            (str(level), "shop.charge", "critical-1@here")
        ], text
    assert "charging bad" not in host.log


def test_a_stop_lets_the_running_task_finish(host: Host, stop: Stop) -> None:
    worker = start_worker(host)
    sender = host.start("exec", "--", "python", "-c", RUN.format("block", 3, ", interval=0.1"))
    while "Task shop.block" not in host.log:
        assert sender.poll() is None
        time.sleep(0.02)

    assert stop(worker) == 0
    assert sender.wait(timeout=20) == 0
    assert '"done"' in host.log


def test_the_main_loop_feeds_the_watchdog(host: Host) -> None:
    worker = start_worker(host, WATCHDOG_USEC="3000000")
    for _ in range(3):
        host.notifications.wait_for("WATCHDOG=1", timeout=3)
    worker.kill()


def test_a_worker_without_its_broker_asks_for_time_and_pings(host: Host) -> None:
    host.credential("celery", broker_url="amqp://user:pa55@127.0.0.1:1//")

    host.start("worker", "--app", "shop:app", "--", "-n", "x@here", "-Q", "critical", WATCHDOG_USEC="30000000")

    message = host.notifications.wait_for("EXTEND_TIMEOUT_USEC=30000000")
    assert "WATCHDOG=1" in message
    assert "STATUS=waiting for the broker amqp://user:**@127.0.0.1:1//" in message
    assert "READY=1" not in "".join(host.notifications.heard)
    assert "pa55" not in host.log


def test_beat_is_ready_pings_and_sends(host: Host, stop: Stop) -> None:
    with (host.path / "shop.py").open("a") as module:
        module.write("\napp.conf.beat_schedule = {'each': {'task': 'shop.charge', 'schedule': 1, 'args': ['B']}}\n")

    beat = host.start("beat", "--app", "shop:app", "--", "--schedule=beat.db", WATCHDOG_USEC="6000000")

    assert "STATUS=scheduling" in host.notifications.wait_for("READY=1")
    for _ in range(2):
        told = host.notifications.wait_for("WATCHDOG=1", timeout=6)
    line = r"STATUS=scheduling 2 entries since \S+ \S+ UTC; [1-9]\d* sent, shop.charge last, at \S+ \S+ UTC"
    assert re.search(line, told)
    assert stop(beat) == 0
    assert list((host.path / "queue").iterdir())


def test_a_broken_settings_file_stops_the_start_with_one_sentence(host: Host) -> None:
    (host.path / "settings.json").write_text("{")

    done = host.run("worker", "--app", "shop:app")

    assert (done.returncode, done.stdout) == (78, "")
    assert (
        done.stderr == f"celeryops: {host.path}/settings.json is not JSON: run the playbook again to write it anew.\n"
    )


def test_a_running_worker_stays_with_its_release(tmp_path: Path, host: Host) -> None:
    import sys
    import sysconfig

    release = tmp_path / "releases/r1"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", release / "venv"], check=True)
    (release / "release.json").write_text("{}")
    (tmp_path / "current").symlink_to(release)
    code = "import os, sys; print(sys.prefix, os.environ['PATH'].split(':')[0], os.environ['CELERYOPS_RELEASE'])"
    packages = sysconfig.get_path("purelib")

    done = subprocess.run(
        [tmp_path / "current/venv/bin/python", "-m", "celeryops_runtime", "exec", "--", "python", "-c", code],
        env={**host.environment, "PYTHONPATH": f"{host.environment['PYTHONPATH']}:{packages}"},
        capture_output=True,
        text=True,
    )

    assert done.stdout == f"{release}/venv {release}/venv/bin r1\n", done.stderr
