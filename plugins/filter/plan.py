# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan and what belongs to it, as filters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celeryops.stack.plugins.module_utils import redis
from ansible_collections.celeryops.stack.plugins.module_utils.cluster import disunity
from ansible_collections.celeryops.stack.plugins.module_utils.plan import (
    PlanError,
    make_plan,
    with_password,
    with_secrets,
)
from ansible_collections.celeryops.stack.plugins.module_utils.tables import plan_table, producer_settings
from ansible_collections.celeryops.stack.plugins.module_utils.topology import address_of, services_of, topology_of
from ansible_collections.celeryops.stack.plugins.module_utils.units import as_texts, each_file, unit_lines, watching


def plan(values: Mapping[str, Any], host: str = "localhost") -> dict[str, Any]:
    """The plan of one host; see roles/celery."""
    try:
        return make_plan(values, host)
    except PlanError as error:
        raise AnsibleFilterError(str(error)) from None


def topology(groups: Mapping[str, list[str]], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Which hosts run which service, from the inventory's groups."""
    return topology_of(groups, hostvars)


def broker_url(broker: Mapping[str, Any], password: str, user: str | None = None) -> str:
    """The broker's URL with the password in it."""
    return with_password(broker["url"], password, user)


def backend_url(backend: Mapping[str, Any], password: str) -> str:
    """The result backend's URL with the password in it; empty where there is none."""
    return with_password(backend["url"], password)


def redis_primary(hostvars: Mapping[str, Any], names: Iterable[str], replicas: list[dict[str, str]]) -> str:
    """The address of the primary, from what the role redis saw on those of its replicas that are in the play."""
    those = {replica["name"] for replica in replicas}.intersection(names)
    found = {name: hostvars[name]["__redis_look"] for name in those if "__redis_look" in hostvars[name]}
    try:
        return redis.primary(found, replicas)
    except redis.Undecided as problem:
        raise AnsibleFilterError(str(problem)) from None


def cluster_problem(hosts: Iterable[Mapping[str, Any]]) -> str:
    """Why the data that rabbitmq_data found on these hosts is not that of one cluster; empty where it is."""
    return disunity(variables["__rabbitmq_data"] for variables in hosts if "__rabbitmq_data" in variables)


class FilterModule:
    """What this file offers to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "plan": plan,
            "topology": topology,
            "plan_table": plan_table,
            "producer_settings": producer_settings,
            "address": address_of,
            "services": services_of,
            "each_file": each_file,
            "watching": watching,
            "unit_lines": unit_lines,
            "as_texts": as_texts,
            "broker_url": broker_url,
            "cluster_problem": cluster_problem,
            "with_secrets": with_secrets,
            "backend_url": backend_url,
            "redis_primary": redis_primary,
        }
