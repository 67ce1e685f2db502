# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of each host, as playbooks/verify.yml wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

#: The example application, whose tasks the tests may send.
SHOP = "shop.celery:app"
#: Names of variables that hold a secret, and the shortest value that can be told from ordinary text.
SECRET_NAME = re.compile(r"(password|passphrase|secret_key|project_key|api_token|cookie|dsn)$")
SECRET_LENGTH = 8

#: What a deployment can have; a test marked with one of these runs where it is there.
FEATURES = {
    "shop": "sends tasks of the example application and waits for their results",
    "one_store": "needs all tasks of the example application to run on one host",
    "bulk_apart": "needs no worker to consume both of the example's queues critical and bulk",
    "producers": "needs a user for producers",
    "rabbitmq": "needs a RabbitMQ that this deployment runs",
    "cluster": "needs a RabbitMQ cluster that this deployment runs",
    "redis": "needs a Redis that this deployment runs",
    "redis_broker": "needs a Redis as broker that this deployment runs",
    "replicated": "needs several Redis with Sentinel as broker",
    "flower_login": "needs Flower with a login",
    "tls": "needs TLS",
    "tracked": "needs errors to go to the Bugsink of this deployment",
}


# No repr: a failing assertion must not print what is in here.
@dataclass(frozen=True, repr=False)
class Host:
    """One host: its groups, how to reach it, and every variable of the roles it carries."""

    name: str
    groups: frozenset[str]
    connection: Mapping[str, Any]
    variables: Mapping[str, Any]

    def __getitem__(self, variable: str) -> Any:
        return self.variables[variable]

    def says(self, variable: str) -> bool:
        """Whether a variable is true; inventories in INI format have texts for it."""
        return str(self.variables.get(variable)).lower() in ("true", "yes", "on", "1")

    @property
    def plan(self) -> Mapping[str, Any]:
        """What the declaration means for this host."""
        plan: Mapping[str, Any] = self.variables["celery_plan"]
        return plan

    @cached_property
    def secrets(self) -> dict[str, str]:
        """Every secret of the deployment that this host's variables know, by the variable's name."""
        return secrets(self.variables)


@dataclass(frozen=True)
class Deployment:
    """All hosts together."""

    hosts: tuple[Host, ...]

    def members(self, group: str) -> list[Host]:
        """The hosts of one inventory group."""
        return [host for host in self.hosts if group in host.groups]

    @property
    def plan(self) -> Mapping[str, Any]:
        """The plan; what does not differ between hosts."""
        return self.hosts[0].plan

    @cached_property
    def features(self) -> set[str]:
        """Which of FEATURES this deployment has."""
        plan, trackers, monitors = self.plan, self.members("tracker"), self.members("monitor")
        workers = self.members("worker")
        tracks = trackers and self.hosts[0]["celery_sentry_dsn"]
        shop = plan["app"] == SHOP and plan["result_backend"]["kind"] != "none" and workers
        apart = not any({"critical", "bulk"} <= set(unit["queues"]) for host in workers for unit in host.plan["units"])
        found = {
            "shop": shop,
            "bulk_apart": apart,
            "one_store": shop and len(workers) == 1,
            "producers": plan["broker"]["producer_user"],
            "rabbitmq": plan["broker"]["kind"] == "rabbitmq" and self.members("broker"),
            "cluster": plan["broker"]["nodes"] and self.members("broker"),
            "redis": self.members("backend") or (plan["broker"]["kind"] == "redis" and self.members("broker")),
            "tls": self.hosts[0].says("celery_tls"),
            "redis_broker": plan["broker"]["kind"] == "redis" and self.members("broker"),
            "replicated": plan["broker"].get("sentinel") and self.members("broker"),
            "flower_login": monitors and monitors[0]["flower_user"],
            "tracked": tracks and urlsplit(tracks).username == trackers[0]["bugsink_project_key"],
        }
        return {name for name, there in found.items() if there}


def load(directory: Path) -> Deployment:
    """Read the directory that the playbook filled: one file for each host."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))]
    return Deployment(tuple(Host(**{**facts, "groups": frozenset(facts["groups"])}) for facts in files))


def secrets(variables: Mapping[str, Any]) -> dict[str, str]:
    """The values that nobody but their readers may see, by name; also as they stand in a URL."""
    found: dict[str, str] = {}
    for name, value in _candidates(variables):
        if isinstance(value, str) and len(value) >= SECRET_LENGTH:
            found[name] = value
            if (encoded := quote(value, safe="")) != value:
                found[f"{name} (in a URL)"] = encoded
    return found


def _candidates(variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in variables.items():
        if SECRET_NAME.search(name):
            yield name, value
            if name.endswith("dsn") and isinstance(value, str):
                yield f"{name} (its key)", urlsplit(value).username
        if name == "celery_secret_environment":
            yield from ((f"{name}.{key}", secret) for key, secret in value.items())
