# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes long: started once, it runs beside everything else, and whoever needs it waits for it."""

from __future__ import annotations

import json
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from verification import expected
from verification.facts import Deployment
from verification.node import Node
from verification.remote import leaks, load, report, ticks

CELERY_RUN = "/usr/local/sbin/celery-run"
SHOP_COMMANDS = {"submit": "submit --every-queue --retry-one", "totals": "totals", "limits": "limits"}


@dataclass(frozen=True)
class Background:
    """``result()`` of each waits for it."""

    leaks: dict[str, Future[list[str]]]
    report: Future[dict[str, Any]] | None
    consumer_timeout: Future[str] | None
    shop: dict[str, Future[Any]]


def start(pool: Executor, deployment: Deployment, nodes: dict[str, Node]) -> Background:
    """Set everything going that this deployment has."""

    def first(group: str) -> Node:
        return nodes[deployment.members(group)[0].name]

    shop: dict[str, Future[Any]] = {}
    if "shop" in deployment.features:
        shop["load"] = pool.submit(_load, deployment, first("worker"))
    if "one_store" in deployment.features:
        ticks_wanted = {"ticks": 2, "periods": 2.5}
        shop["ticks"] = pool.submit(first("worker").call, ticks, ticks_wanted, f"{CELERY_RUN} python")
        shop |= {name: pool.submit(_shop, first("worker"), command) for name, command in SHOP_COMMANDS.items()}
    return Background(
        shop=shop,
        report=pool.submit(_report, deployment, first("worker")) if deployment.members("worker") else None,
        consumer_timeout=(
            pool.submit(first("broker").output, "rabbitmqctl --quiet eval %s", CONSUMER_TIMEOUT)
            if "rabbitmq" in deployment.features
            else None
        ),
        leaks={name: pool.submit(_leaks, node) for name, node in nodes.items()},
    )


CONSUMER_TIMEOUT = "{ok, T} = application:get_env(rabbit, consumer_timeout), T."


def _leaks(node: Node) -> list[str]:
    host = node.host
    roots = [host["celery_etc"], f"{host['celery_home']}/runtime", host["celery_app_home"], "/etc/systemd/system"]
    roots += [host[name] for name in ("flower_etc", "flower_home", "bugsink_etc") if name in host.variables]
    roots += ["/etc/rabbitmq", "/etc/redis", "/usr/local/sbin"]
    found: list[str] = node.call(
        leaks, {"secrets": host.secrets, "units": expected.services(host), "roots": sorted(set(roots))}
    )
    return found


def _report(deployment: Deployment, node: Node) -> dict[str, Any]:
    data = {"app": deployment.plan["app"], "nodes": list(deployment.plan["nodes"])}
    answer: dict[str, Any] = node.call(report, data, f"{CELERY_RUN} python")
    return answer


def _load(deployment: Deployment, node: Node) -> dict[str, Any]:
    """Keep every consumer of bulk busy for some seconds; delay more tasks than default prefetches."""
    units = [unit for host in deployment.members("worker") for unit in host.plan["units"]]
    bulk = [unit["concurrency"] for unit in units if "bulk" in unit["queues"]]
    default = [unit for unit in units if "default" in unit["queues"]]
    prefetched = sum(unit["concurrency"] * unit["prefetch_multiplier"] for unit in default)
    data = {
        "backlog": 12 * sum(bulk),
        "export_seconds": 0.4,
        "urgent": 5,
        "delay": 4,
        "delayed": 2 * prefetched + 2,
        "default_nodes": [unit["node"] for unit in default],
        "timeout": 60,
    }
    answer: dict[str, Any] = node.call(load, data, f"{CELERY_RUN} python")
    return answer | {"delay": data["delay"]}


def _shop(node: Node, command: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, outcomes and complaints of one of the shop's commands."""
    result = node.shell.run(f"{CELERY_RUN} shop {command} --json")
    assert str(result.stdout).startswith("["), f"shop {command}: {result.stderr or result.stdout}"
    return result.rc, json.loads(result.stdout), str(result.stderr)
