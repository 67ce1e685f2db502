# SPDX-License-Identifier: GPL-3.0-or-later
"""The two sides that go through the same faults: what this collection deploys, and Celery as it is by default."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celeryops_runtime import producer
from kombu import Connection

from trial import hosts
from trial.hosts import BROKERS, KIND, WORKERS
from trial.load import DEAD_LETTER, Watch
from trial.redis import RedisWatch

SETTINGS = hosts.CACHE / "settings.json"
CA = hosts.CACHE / "tls" / "ca.pem"
CONTROL, CONTROL_PASSWORD = "control", "control-password-of-a-test"
CONTROL_UNIT = f"""[Unit]
Description=Celery at its defaults
[Service]
User=celery
WorkingDirectory=/opt/celery/app/current/src
StateDirectory=celery
StateDirectoryMode=0750
Environment=EFFECTS={{effects}} CELERY_BROKER_URL={{url}} {{results}}
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

    def connection(self) -> Connection:
        """A connection to its broker."""
        return Connection(self.url, connect_timeout=5, ssl=tls())

    def watch(self, queues: Collection[str]) -> Watch:
        """A watch on these queues."""
        return Watch(self.url, queues, tls())


class RedisSide(Side):
    """The same with Redis, whose primary is found as a producer finds it."""

    def connection(self) -> Connection:
        """A connection to its broker."""
        return client(self.url).connection_for_read()

    def watch(self, queues: Collection[str]) -> Watch:
        """A watch on these queues."""
        return RedisWatch(self.connection, queues)


def broker_url(user: str, password: str, vhost: str) -> str:
    """The broker as a producer outside the machines reaches it."""
    if KIND == "redis":
        alone = "rediss" if tls() else "redis"
        scheme, port = ("sentinel", 26379) if len(BROKERS) > 1 else (alone, 6379)
        return ";".join(f"{scheme}://{user}:{password}@{hosts.address(host)}:{port}/0" for host in BROKERS)
    scheme, port = ("amqps", 5671) if tls() else ("amqp", 5672)
    return ";".join(f"{scheme}://{user}:{password}@{hosts.address(broker)}:{port}/{vhost}" for broker in BROKERS)


def tls() -> dict[str, Any] | None:
    """What the broker is verified by, where it speaks TLS."""
    if not hosts.variables().get("celery_tls"):
        return None
    options = {"ca_certs": str(CA), "cert_reqs": ssl.CERT_REQUIRED}
    return {**options, "server_hostname": hosts.address(BROKERS[0])}


def sender() -> Celery:
    """A producer that is configured as the documentation says."""
    generation = hosts.variables().get("celery_generation", 1)
    user = "producer" if generation == 1 else f"producer-{generation}"
    settings = hosts.run(WORKERS[0], "cat", "/etc/celery/settings.json")
    SETTINGS.write_text(
        settings.replace("/etc/celery/tls-ca.pem", str(CA)), encoding="utf-8"
    )  # its copy on this machine
    return client(broker_url(user, hosts.variables()["celery_producer_password"], "celery"))


def client(url: str) -> Celery:
    """What speaks to the broker at that URL by the plan's settings."""
    app = Celery("producer", broker=url)
    producer.configure(app, SETTINGS)
    return app


def deployed() -> Side:
    """The workers that site.yml deployed, and who sends to them; who counts may do more."""
    variables = hosts.variables()
    workers = variables["celery_workers"]
    kind, user, secret = {
        "rabbitmq": (Side, "admin", "rabbitmq_admin_password"),
        "redis": (RedisSide, "celery", "celery_broker_password"),
    }[KIND]
    return kind(
        name="deployed",
        url=broker_url(user, variables[secret], "celery"),
        producer=sender(),
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
    results = f"CELERY_RESULT_BACKEND={hosts.result_backend()}" if hosts.BACKENDS else ""
    unit = CONTROL_UNIT.format(effects=effects, url=url, results=results)
    _forget_control()
    hosts.run(BROKERS[0], "rabbitmqctl", "--quiet", "add_vhost", CONTROL)
    hosts.run(BROKERS[0], "rabbitmqctl", "--quiet", "add_user", CONTROL, CONTROL_PASSWORD)  # it protects nothing
    hosts.run(BROKERS[0], "rabbitmqctl", "--quiet", "set_permissions", "--vhost", CONTROL, CONTROL, ".*", ".*", ".*")
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
        names = hosts.run(BROKERS[0], "rabbitmqctl", "--quiet", f"list_{kind}s").split()
        if CONTROL in names:
            hosts.run(BROKERS[0], "rabbitmqctl", "--quiet", f"delete_{kind}", CONTROL)
