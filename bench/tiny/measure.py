# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure one way to run a worker, on the machine where it runs; one line of JSON.

The queue is filled while no worker runs; then one is started. Tasks and processor time are counted between the moment
when some of the messages are gone and the one when few are left: neither start nor end of a worker is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CREDENTIALS = Path("/etc/celery/credentials/celery.json")
VENV, SOURCE = Path("/opt/celery/app/current/venv"), Path("/opt/celery/app/current/src")
#: Where Celery's defaults make their queue.
DEFAULTS_VHOST, DEFAULTS_QUEUE = "hand", "celery"
BROKER, WORKER, WATCHER = "rabbitmq-server.service", "bench-worker.service", "bench-watcher.service"
ENVIRONMENT, SEEN = Path("/run/bench.env"), Path("/run/bench.seen")
#: As the deployed unit has it.
BY_HAND = (
    "--property=User=celery",
    f"--property=WorkingDirectory={SOURCE}",
    f"--property=EnvironmentFile={ENVIRONMENT}",
    "--property=KillMode=mixed",
    "--setenv=PYTHONDONTWRITEBYTECODE=1",
)
#: The span that is measured, in shares of the messages that are left.
FIRST, LAST = 0.9, 0.03
LOOK, PATIENCE = 0.03, 180.0


@dataclass(frozen=True)
class Mark:
    """One moment."""

    at: float
    ready: int
    worker: float
    broker: float


@dataclass(frozen=True)
class Measured:
    """A span between two moments, and how many events of tasks the watcher received in all."""

    tasks: int
    seconds: float
    worker: float
    broker: float
    events: int


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def processes(unit: str) -> list[str]:
    """Their ids. systemd's own hierarchy is there with every version of control groups."""
    group = output("systemctl", "show", "--property=ControlGroup", "--value", unit)
    files = [Path(f"/sys/fs/cgroup{hierarchy}{group}/cgroup.procs") for hierarchy in ("/systemd", "")]
    return next(file for file in files if file.exists()).read_text(encoding="utf-8").split()


def processor_time(unit: str) -> float:
    """Seconds of its processes so far, and of their children that have ended.

    Not systemd's CPUUsageNSec, which is not there where the kernel has its two CPU controllers apart.
    """
    ticks = 0
    for pid in processes(unit):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def connect(defaults: bool) -> Any:
    """The application as a producer sees it; what it is told goes to the workers by hand, too."""
    url = json.loads(CREDENTIALS.read_text(encoding="utf-8"))["broker_url"]
    if defaults:
        variables = {"CELERY_BROKER_URL": f"{url.rpartition('/')[0]}/{DEFAULTS_VHOST}"}
    else:
        variables = {"CELERY_BROKER_URL": url, "CELERY_CONFIG_MODULE": "by_hand"}
    ENVIRONMENT.touch(mode=0o600)
    ENVIRONMENT.write_text("".join(f"{name}={value}\n" for name, value in variables.items()), encoding="utf-8")
    os.environ.update(variables)

    from tiny import app

    app.conf.broker_transport_options = {}  # no confirms: how fast the queue is filled is not measured
    return app


def await_true(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(LOOK)


@contextmanager
def running(unit: str, *start: str) -> Iterator[str]:
    """A unit while it runs; its name."""
    output(*start)
    try:
        yield unit
    finally:
        output("systemctl", "stop", unit)


def by_hand(unit: str, *arguments: str) -> AbstractContextManager[str]:
    """A unit that is gone afterwards."""
    return running(unit, "systemd-run", f"--unit={unit}", "--collect", *BY_HAND, *arguments)


def options_of(unit: str) -> list[str]:
    """Celery's own options of a deployed unit, which are those after the first ``--``."""
    command = output("systemctl", "show", "--property=ExecStart", "--value", unit)
    arguments = command.partition("argv[]=")[2].partition(" ; ")[0].split()
    return arguments[arguments.index("--") + 1 :]


def worker(way: str, entry: str) -> AbstractContextManager[str]:
    """A worker that starts in one of the ways, for an entry of celery_workers."""
    unit = f"celery-worker-{entry}@1.service"
    if way == "unit":
        return running(unit, "systemctl", "start", unit)
    options = ["--concurrency=2"] if way == "defaults" else options_of(unit)
    # In the slice of the deployed unit, or the kernel would share out the processors in another way.
    place = f"--slice=celery-worker-{entry}.slice"
    return by_hand(WORKER, place, f"{VENV}/bin/celery", "--app=tiny", "worker", *options)


def watcher(watched: bool) -> AbstractContextManager[Any]:
    SEEN.write_text("0", encoding="utf-8")
    if not watched:
        return nullcontext()
    return by_hand(WATCHER, f"--property=StandardOutput=truncate:{SEEN}", f"{VENV}/bin/python", "watch.py")


def measure(app: Any, way: str, entry: str, task: str, count: int, watched: bool) -> Measured:
    name = DEFAULTS_QUEUE if way == "defaults" else entry
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        queue = app.amqp.queues[name](producer.channel)
        queue.declare()

        def state() -> Any:
            return queue.queue_declare(passive=True)

        def ready() -> int:
            return int(state().message_count)

        with watcher(watched):
            await_true("nobody consumes", lambda: state().consumer_count == 0)
            await_true("the queue is empty", lambda: queue.purge() + ready() == 0)
            for _ in range(count):
                app.tasks[task].apply_async(queue=name, producer=producer)
            await_true(f"{count} messages are ready", lambda: ready() == count)
            with worker(way, entry) as unit:

                def mark(share: float) -> Mark:
                    await_true(f"{share:.0%} of the messages are left", lambda: ready() <= share * count)
                    return Mark(time.monotonic(), ready(), processor_time(unit), processor_time(BROKER))

                first, last = mark(FIRST), mark(LAST)
    tasks = first.ready - last.ready
    return Measured(
        tasks=tasks,
        seconds=last.at - first.at,
        worker=(last.worker - first.worker) / tasks,
        broker=(last.broker - first.broker) / tasks,
        events=int(SEEN.read_text(encoding="utf-8")),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=("defaults", "settings", "unit"))
    parser.add_argument("entry", help="of celery_workers; Celery's defaults have a queue of their own")
    parser.add_argument("task")
    parser.add_argument("count", type=int)
    parser.add_argument("--watched", action="store_true", help="something asks for the tasks' events and receives them")
    given = parser.parse_args()
    app = connect(given.way == "defaults")
    print(json.dumps(asdict(measure(app, given.way, given.entry, given.task, given.count, given.watched))))


if __name__ == "__main__":
    main()
