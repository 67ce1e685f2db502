# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be true of the role rabbitmq's values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.celeryops.stack.plugins.module_utils.rules import values as check

KINDS = ("exchanges", "queues", "bindings", "policies")
REQUIRED = {
    "exchanges": ("vhost", "name"),
    "queues": ("vhost", "name"),
    "bindings": ("vhost", "source", "destination"),
    "policies": ("vhost", "name", "pattern", "definition"),
}
RIGHTS = ("configure", "write", "read")
#: Where the passwords of the default users come from.
ORIGIN = "by default celery_broker_password, celery_monitor_password or celery_producer_password"
ALLOW = "rabbitmq_allow_public"


def problems(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that is wrong."""
    public = values.get(ALLOW, False)
    found = []
    for variable in ("rabbitmq_address", "rabbitmq_management_address", "rabbitmq_prometheus_address"):
        found += check.address(variable, values.get(variable), public, ALLOW)
    for variable in ("rabbitmq_port", "rabbitmq_management_port", "rabbitmq_prometheus_port"):
        found += check.count(variable, values.get(variable), 1, 65535)
    found += _distinct_ports(values)
    found += check.count("rabbitmq_consumer_timeout", values.get("rabbitmq_consumer_timeout"), 60_000)
    found += check.count("rabbitmq_connection_max", values.get("rabbitmq_connection_max"))
    found += check.count("rabbitmq_channel_max", values.get("rabbitmq_channel_max"), 1, 65535)
    found += check.count("rabbitmq_nofile", values.get("rabbitmq_nofile"), 1024)
    found += check.count("rabbitmq_max_message_size", values.get("rabbitmq_max_message_size"), 1024, 536_870_912)
    found += check.count("rabbitmq_timeout", values.get("rabbitmq_timeout"))
    found += check.size("rabbitmq_disk_free_limit", values.get("rabbitmq_disk_free_limit"))
    found += _watermark(values.get("rabbitmq_memory_high_watermark"))
    found += _node_name(values.get("rabbitmq_node_name"))
    found += _cookie(values.get("rabbitmq_erlang_cookie"))
    found += _nodes(values)
    found += _users(values)
    found += _objects(values.get("rabbitmq_objects"), values.get("rabbitmq_vhost"))
    found += _settings(values.get("rabbitmq_settings"))
    found += _source(values.get("rabbitmq_repository"), values.get("rabbitmq_version"))
    return found


def _distinct_ports(values: Mapping[str, Any]) -> list[str]:
    names = ("rabbitmq_port", "rabbitmq_management_port", "rabbitmq_prometheus_port")
    ports = [str(values.get(name)) for name in names]
    if len(set(ports)) == len(ports):
        return []
    return [f"{', '.join(names)} are {', '.join(ports)}: give each its own port, such as 5672, 15672 and 15692."]


def _watermark(value: object) -> list[str]:
    """A share of the memory, or a size."""
    try:
        share = float(str(value))
    except ValueError:
        return check.size("rabbitmq_memory_high_watermark", value)
    if 0 < share <= 0.9:
        return []
    return [
        f"rabbitmq_memory_high_watermark is {value}: write a share of the memory from 0.1 to 0.9, "
        "or a size such as 2GB."
    ]


def _node_name(value: object) -> list[str]:
    if re.fullmatch(r"[A-Za-z0-9_-]+@[A-Za-z0-9_-]+", str(value)):
        return []
    return [f"rabbitmq_node_name is {value!r}: write name@host with a short host name, such as rabbit@broker1."]


def _cookie(value: object) -> list[str]:
    if not value:
        return []
    if isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]{20,255}", value):
        return []
    return ["rabbitmq_erlang_cookie is not 20 to 255 printable characters without spaces: use letters and digits."]


def _nodes(values: Mapping[str, Any]) -> list[str]:
    """The members of a cluster; one alone, or none, is no cluster."""
    nodes, own = values.get("rabbitmq_nodes") or [], values.get("rabbitmq_node_name")
    if not isinstance(nodes, list) or not all(isinstance(node, Mapping) for node in nodes):
        return ["rabbitmq_nodes must be a list of mappings: write - {name: rabbit@broker1, address: 10.0.0.11}."]
    if len(nodes) < 2:
        return []
    names = [str(node.get("name") or "") for node in nodes]
    if "" in names:
        addresses = ", ".join(str(node.get("address")) for node in nodes if not node.get("name"))
        return [
            f"rabbitmq_nodes: the name of the node at {addresses} is not known, as nothing was asked of its host: run "
            "without --limit, or write rabbitmq_node_name for that host into the inventory."
        ]
    found = []
    if len(nodes) % 2 == 0:
        found.append(
            f"rabbitmq_nodes names {len(nodes)} nodes ({', '.join(names)}), and two halves that lose sight of each "
            f"other both stop: make them {len(nodes) + 1}, or {len(nodes) - 1}."
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        found.append(f"rabbitmq_nodes names {', '.join(twice)} twice: give each node a name of its own.")
    if own not in names:
        found.append(
            f"rabbitmq_nodes names {', '.join(names)}, but not this host's own {own}: add it, or write "
            "rabbitmq_node_name as it stands there."
        )
    for node in nodes:
        if sentences := _node_name(node["name"]):
            found += [sentence.replace("rabbitmq_node_name", "rabbitmq_nodes: a name") for sentence in sentences]
        if not re.fullmatch(r"\d+\.\d+\.\d+\.\d+", str(node.get("address"))):
            found.append(
                f"rabbitmq_nodes: the address of {node['name']} is {node.get('address')!r}: write the private IPv4 "
                "address at which the other nodes reach it."
            )
    if not values.get("rabbitmq_erlang_cookie"):
        found.append(
            "rabbitmq_erlang_cookie is empty, and the nodes of a cluster must share one: set it, from a vault, to 20 "
            "letters and digits or more."
        )
    return found


def _users(values: Mapping[str, Any]) -> list[str]:
    admin, vhost, users = values.get("rabbitmq_admin_user"), values.get("rabbitmq_vhost"), values.get("rabbitmq_users")
    found = check.secret("rabbitmq_admin_password", values.get("rabbitmq_admin_password"))
    if not isinstance(vhost, str) or not vhost:
        found.append(f"rabbitmq_vhost is {vhost!r}: name the virtual host, such as celery.")
    if not isinstance(admin, str) or not admin or admin == "guest":
        found.append(
            f"rabbitmq_admin_user is {admin!r}: name the administrator, such as admin; guest is known to everybody."
        )
    if not isinstance(users, list) or not all(isinstance(user, Mapping) for user in users):
        return [
            *found,
            "rabbitmq_users must be a list of mappings: write - {name: ..., password: ..., permissions: {...}}.",
        ]
    names = [admin]
    for number, user in enumerate(users, 1):
        name = user.get("name")
        if not isinstance(name, str) or not name:
            found.append(f"rabbitmq_users: entry {number} has no name: write name: ...")
            continue
        if name == "guest":
            found.append("rabbitmq_users names guest, whose password everybody knows: choose another name.")
        if name in names:
            found.append(f"rabbitmq_users: {name} is there twice (or is the administrator): give each user one entry.")
        names.append(name)
        found += check.secret(f"rabbitmq_users: the password of {name} ({ORIGIN})", user.get("password"))
        found += _permissions(name, user.get("permissions"))
    absent = values.get("rabbitmq_absent_users")
    if not isinstance(absent, list):
        return [*found, "rabbitmq_absent_users must be a list of names: write [guest]."]
    twice = sorted({name for name in absent if name in names and name != "guest"})
    return [*found, *(f"rabbitmq_absent_users names {name}, who shall exist: decide for one." for name in twice)]


def _permissions(name: str, rights: object) -> list[str]:
    if not isinstance(rights, Mapping) or sorted(rights) != sorted(RIGHTS):
        return [
            f"rabbitmq_users: the permissions of {name} must be a mapping with {', '.join(RIGHTS)}, "
            "each a regular expression such as ^celery$."
        ]
    found = []
    for right, pattern in rights.items():
        try:
            re.compile(str(pattern))
        except re.error as error:
            found.append(f"rabbitmq_users: the right {right} of {name} is no regular expression ({error}): {pattern}")
    return found


def _objects(objects: object, vhost: object) -> list[str]:
    if not isinstance(objects, Mapping):
        return [f"rabbitmq_objects must be a mapping with the lists {', '.join(KINDS)}: write {{}} for none."]
    found = [
        f"rabbitmq_objects has {kind!r}, which is none of {', '.join(KINDS)}."
        for kind in sorted(map(str, objects))
        if kind not in KINDS
    ]
    for kind in KINDS:
        items = objects.get(kind) or []
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            found.append(f"rabbitmq_objects: {kind} must be a list of mappings.")
            continue
        for number, item in enumerate(items, 1):
            where = f"rabbitmq_objects: {kind}, entry {number}"
            if missing := [key for key in REQUIRED[kind] if key not in item]:
                found.append(f"{where} has no {', '.join(missing)}: write it.")
            elif vhost and item["vhost"] != vhost:
                found.append(f"{where} is in vhost {item['vhost']!r}: write {vhost!r}, which is rabbitmq_vhost.")
    return found


def _source(repository: object, version: object) -> list[str]:
    found = []
    if not isinstance(repository, Mapping):
        return ["rabbitmq_repository must be a mapping with uris, suites, components and key: write {} for Debian's."]
    if repository and (missing := [key for key in ("uris", "suites", "key") if not repository.get(key)]):
        found.append(f"rabbitmq_repository has no {', '.join(missing)}: write it, or {{}} for Debian's own package.")
    elif repository and not Path(str(repository["key"])).is_file():
        found.append(f"rabbitmq_repository.key is {repository['key']}, which is no file here: save it there.")
    if re.search(r"//\S*@|\?", str(repository.get("uris"))):
        found.append(
            "rabbitmq_repository.uris holds a login, and everybody on a host can read apt's sources: write the address "
            "without it, and the login into a file below /etc/apt/auth.conf.d on the hosts."
        )
    if not re.fullmatch(r"([0-9][0-9A-Za-z.+:~-]*)?", str(version)):
        found.append(f"rabbitmq_version is {version!r}: write a version, or how it begins, such as 4.1.")
    return found


def _settings(settings: object) -> list[str]:
    if not isinstance(settings, Mapping):
        return ["rabbitmq_settings must be a mapping of lines of rabbitmq.conf: write {} for none."]
    if "consumer_timeout" in settings:
        return [
            "rabbitmq_settings has consumer_timeout, which has a variable of its own: write rabbitmq_consumer_timeout."
        ]
    return [
        f"rabbitmq_settings: {key} does not fit on one line of rabbitmq.conf: write key: value, both on one line."
        for key, value in settings.items()
        if not re.fullmatch(r"[A-Za-z0-9_.$-]+", str(key)) or "\n" in str(value)
    ]
