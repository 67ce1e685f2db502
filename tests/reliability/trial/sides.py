# SPDX-License-Identifier: GPL-3.0-or-later
"""The two sides that go through the same faults: what this collection deploys, and Celery as it is by default."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from celery import Celery
from celeryops_runtime import producer

from trial import hosts
from trial.hosts import BROKER, BROKERS, WORKERS
from trial.load import DEAD_LETTER

CONTROL, CONTROL_PASSWORD = "control", "control-password-of-a-test"
CONTROL_UNIT = f"""[Unit]
Description=Celery at its defaults
[Service]
User=celery
WorkingDirectory=/opt/celery/app/current/src
StateDirectory=celery
StateDirectoryMode=0750
Environment=EFFECTS={{effects}} CELERY_BROKER_URL={{url}}
ExecStart=/opt/celery/app/current/venv/bin/celery --app effects worker --concurrency 4 --hostname {CONTROL}@%H
Restart=always
MemoryMax=500M
[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Side:
    """Something that takes tasks and does them."""

    name: str
    url: str
    producer: Celery
    queues: Mapping[str, int]  # with how many consumers each has
    units: Mapping[str, tuple[str, ...]]  # by host
    probes: tuple[str, ...]  # tasks that reach every queue
    effects: str
    dead_letter: str | None = None


def broker_url(user: str, password: str, vhost: str) -> str:
    """The broker as a producer outside the machines reaches it."""
    return ";".join(f"amqp://{user}:{password}@{hosts.address(broker)}:5672/{vhost}" for broker in BROKERS)


def deployed() -> Side:
    """The workers that site.yml deployed, and a producer that is configured as the documentation says."""
    variables = hosts.variables()
    workers = variables["celery_workers"]
    url = broker_url("celery", variables["celery_broker_password"], "celery")
    settings = hosts.CACHE / "settings.json"
    settings.write_text(hosts.run(WORKERS[0], "cat", "/etc/celery/settings.json"), encoding="utf-8")
    app = Celery("producer", broker=url)
    producer.configure(app, settings)
    return Side(
        name="deployed",
        url=url,
        producer=app,
        queues={name: entry.get("instances", 1) * len(entry.get("hosts", WORKERS)) for name, entry in workers.items()},
        units={
            host: tuple(
                f"celery-worker-{name}@{number}.service"
                for name, entry in workers.items()
                if host in entry.get("hosts", WORKERS)
                for number in range(1, entry.get("instances", 1) + 1)
            )
            for host in WORKERS
        },
        probes=("effects.fast", "effects.slow", "effects.hungry", "effects.threaded"),
        effects=variables["celery_environment"]["EFFECTS"],
        dead_letter=DEAD_LETTER,
    )


@contextlib.contextmanager
def control() -> Iterator[Side]:
    """Celery's own worker at its defaults, on the same machines, while the deployed ones are stopped."""
    effects = hosts.variables()["celery_environment"]["EFFECTS"]
    url = broker_url(CONTROL, CONTROL_PASSWORD, CONTROL)
    unit = CONTROL_UNIT.format(effects=effects, url=url)
    _forget_control()
    hosts.run(BROKER, "rabbitmqctl", "--quiet", "add_vhost", CONTROL)
    hosts.run(BROKER, "rabbitmqctl", "--quiet", "add_user", CONTROL, CONTROL_PASSWORD)  # it protects nothing
    hosts.run(BROKER, "rabbitmqctl", "--quiet", "set_permissions", "--vhost", CONTROL, CONTROL, ".*", ".*", ".*")
    try:
        for host in WORKERS:
            hosts.shell(host, "systemctl disable --quiet celery-workers.target && systemctl stop celery-workers.target")
            hosts.run(host, "tee", f"/etc/systemd/system/{CONTROL}.service", stdin=unit)
            hosts.shell(host, f"systemctl daemon-reload && systemctl enable --quiet --now {CONTROL}.service")
        yield Side(
            name=CONTROL,
            url=url,
            producer=Celery(CONTROL, broker=url),
            queues={"celery": len(WORKERS)},
            units=dict.fromkeys(WORKERS, (f"{CONTROL}.service",)),
            probes=("effects.fast",),
            effects=effects,
        )
    finally:
        _forget_control()
        for host in WORKERS:
            hosts.shell(host, "systemctl enable --quiet --now celery-workers.target")


def _forget_control() -> None:
    unit = f"/etc/systemd/system/{CONTROL}.service"
    for host in WORKERS:
        hosts.shell(host, f"[ ! -e {unit} ] || {{ systemctl disable --quiet --now {CONTROL} && rm {unit}; }}")
    for kind in ("vhost", "user"):
        names = hosts.run(BROKER, "rabbitmqctl", "--quiet", f"list_{kind}s").split()
        if CONTROL in names:
            hosts.run(BROKER, "rabbitmqctl", "--quiet", f"delete_{kind}", CONTROL)
