# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m celeryops_runtime probe``: sees from outside what a worker's own watchdog cannot.

A main loop may turn, and ping, while nothing reaches it any more. Each run of this looks once at every worker of the
host, compares with its own last look and ends those that hang; systemd starts them again.
"""

import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import kombu

from celeryops_runtime import files, journal, settings, status
from celeryops_runtime.errors import ConfigurationError
from celeryops_runtime.liveness import Sample, judge

#: This command's memory, in the directory that systemd keeps for it.
_FILE = "samples.json"
_TOLD = [field.name for field in fields(Sample) if field.name != "ready"]
_kombu: Any = kombu


def ready_messages(shared: Mapping[str, Any], queues: Iterable[str]) -> dict[str, int]:
    """The messages that wait in each queue; raises OSError when the broker cannot be asked."""
    connection = _kombu.Connection(
        shared["broker_url"],
        ssl=shared.get("broker_use_ssl") or False,
        login_method=shared.get("broker_login_method"),
        connect_timeout=shared.get("broker_connection_timeout", 4),
        transport_options=shared.get("broker_transport_options") or {},
    )
    ready: dict[str, int] = {}
    with connection:
        connection.ensure_connection(max_retries=1, interval_start=0, reraise_as_library_errors=False)
        for queue in sorted(set(queues)):
            try:
                with connection.channel() as channel:
                    ready[queue] = channel.queue_declare(queue, passive=True).message_count
            except connection.channel_errors:  # there is none (in Redis: none that holds anything)
                ready[queue] = 0
    return ready


def read(path: Path) -> tuple[Sample, list[str]] | None:
    """What this worker says of itself, and its queues."""
    try:
        told = files.read_object(path)
        return Sample(**{name: told[name] for name in _TOLD}), list(told["queues"])
    except (ConfigurationError, KeyError, TypeError) as error:  # its unit stopped this moment, or is an older release's
        print(f"{path} tells nothing of use ({error})")
        return None


def end(sample: Sample) -> str:
    """End this worker's main process, if it is still the same one; tells what came of it."""
    try:
        handle = os.pidfd_open(sample.pid)
    except OSError as error:
        return f"process {sample.pid} is gone already ({error.strerror})"
    try:
        unit = journal.unit_name(Path(f"/proc/{sample.pid}/cgroup").read_text(encoding="utf-8"))
        if unit != sample.unit:
            return f"process {sample.pid} is not its own any more"
        signal.pidfd_send_signal(handle, signal.SIGABRT)
    except OSError as error:
        return f"process {sample.pid} could not be ended: {error.strerror}"
    finally:
        os.close(handle)
    return f"process {sample.pid} was ended (SIGABRT), systemd starts it again"


def _remembered(path: Path | None) -> dict[str, Sample]:
    """The last look at each worker; none where this is the first run, or the file another version's."""
    if not path or not path.exists():
        return {}
    try:
        return {unit: Sample(**sample) for unit, sample in files.read_object(path).items()}
    except (ConfigurationError, TypeError):
        return {}


def look(directory: Path, shared: Mapping[str, Any], before: Mapping[str, Sample]) -> dict[str, Sample]:
    """Look at every worker, say what is seen, end who hangs; returns what to remember."""
    seen = [worker for path in sorted(directory.glob(f"*/{status.FILE}")) if (worker := read(path))]
    if not seen:
        print("no worker runs on this host")
        return {}
    try:
        ready = ready_messages(shared, {queue for _sample, queues in seen for queue in queues})
    except Exception as error:
        # Whatever it is: without the broker's word nobody is judged, neither now nor by what was seen before.
        print(f"the broker cannot be asked ({error!r}): no worker is judged")
        return {}
    remembered: dict[str, Sample] = {}
    for told, queues in seen:
        now = replace(told, ready=sum(ready[queue] for queue in queues))
        earlier = before.get(now.unit)
        verdict = judge(earlier, now)
        print(f"{now.unit}: {verdict.reason}" + (f"; {end(now)}" if verdict.end else ""))
        remembered[now.unit] = earlier if verdict.keep and earlier else now
    return remembered


def run(directory: Path, environ: Mapping[str, str]) -> int:
    """The command."""
    shared = settings.read(environ)
    if not shared.get("broker_url"):
        raise ConfigurationError("No broker is known here: start the probe by its unit, systemctl start celery-probe.")
    memory = Path(environ["RUNTIME_DIRECTORY"], _FILE) if environ.get("RUNTIME_DIRECTORY") else None
    samples = look(directory, shared, _remembered(memory))
    if memory:
        memory.write_text(json.dumps({unit: asdict(sample) for unit, sample in samples.items()}), encoding="utf-8")
    sys.stdout.flush()
    return 0
