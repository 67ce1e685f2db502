# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts, hosts and what is measured once for all tests of a deployment."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from verification import expected, facts
from verification.background import Background, start
from verification.facts import Deployment, Host
from verification.node import Node

FACTS = "CELERYOPS_FACTS"
MARKS = {
    "on(group, first=False)": "runs on each host of this inventory group, or on the first one",
    "last": "runs after all others",
    **facts.FEATURES,
}


def pytest_configure(config: pytest.Config) -> None:
    for mark, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {meaning}")
    directory = os.environ.get(FACTS)
    if not directory:
        raise pytest.UsageError(
            f"${FACTS} is not set: run these tests with 'ansible-playbook -i INVENTORY playbooks/verify.yml'"
        )
    config.stash[DEPLOYMENT] = facts.load(Path(directory))


DEPLOYMENT = pytest.StashKey[Deployment]()


# --- which tests run where -------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each host of the mark's group, or for each unit of it, or each of its services with TLS."""
    mark = metafunc.definition.get_closest_marker("on")
    hosts = _hosts(metafunc.config.stash[DEPLOYMENT], mark)
    if "unit" in metafunc.fixturenames:
        group = mark.args[0] if mark else None
        pairs = [(host, unit) for host in hosts for unit in expected.services(host, group)]
        metafunc.parametrize(("node", "unit"), pairs, ids=[f"{h.name}-{u}" for h, u in pairs], indirect=["node"])
    elif "worker" in metafunc.fixturenames:
        workers = [(host, unit) for host in hosts for unit in host.plan["units"]]
        ids = [f"{host.name}-{unit['name']}" for host, unit in workers]
        metafunc.parametrize(("node", "worker"), workers, ids=ids, indirect=["node"])
    elif "secured" in metafunc.fixturenames:
        found = [(host, service) for host in hosts for service in expected.encrypted(host)]
        ids = [f"{host.name}-{service}" for host, service in found]
        metafunc.parametrize(("node", "secured"), found, ids=ids, indirect=["node"])
    elif "node" in metafunc.fixturenames:
        metafunc.parametrize("node", hosts, ids=[host.name for host in hosts], indirect=True)


def _hosts(deployment: Deployment, mark: pytest.Mark | None) -> list[Host]:
    if mark is None:
        return list(deployment.hosts)
    members = deployment.members(mark.args[0])
    return members[:1] if mark.kwargs.get("first") else members


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this deployment does not have, and put last what must come last."""
    deployment = config.stash[DEPLOYMENT]

    def applies(item: pytest.Item) -> bool:
        marks = {mark.name for mark in item.iter_markers()}
        on = item.get_closest_marker("on")
        return not (marks & set(facts.FEATURES)) - deployment.features and bool(_hosts(deployment, on))

    chosen = [item for item in items if applies(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = sorted(chosen, key=lambda item: item.get_closest_marker("last") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Under a failure stand the last journal lines of the units that it is about."""
    outcome = yield
    node = getattr(item, "funcargs", {}).get("node")
    if outcome.failed and isinstance(node, Node):
        mark = item.get_closest_marker("on")
        parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
        unit = parameters.get("unit") or parameters.get("worker", {}).get("name")
        units = [unit] if unit else expected.services(node.host, mark.args[0] if mark else None)
        outcome.sections.append((f"journal of {', '.join(units)} on {node.name}", node.journal(units)))
    return outcome


# --- hosts -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def deployment(pytestconfig: pytest.Config) -> Deployment:
    """All hosts with their facts."""
    return pytestconfig.stash[DEPLOYMENT]


@pytest.fixture(scope="session")
def nodes(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Node]]:
    """The way to each host."""
    nodes = {host.name: Node(host, Path(os.environ[FACTS])) for host in deployment.hosts}
    yield nodes
    for node in nodes.values():
        node.close()


@pytest.fixture
def node(request: pytest.FixtureRequest, nodes: dict[str, Node]) -> Node:
    """The host that this test is about."""
    return nodes[request.param.name]


@pytest.fixture(scope="session")
def first(deployment: Deployment, nodes: dict[str, Node]) -> Callable[[str], Node]:
    """The first host of a group."""
    return lambda group: nodes[deployment.members(group)[0].name]


# --- what takes long runs beside everything else ---------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def background(deployment: Deployment, nodes: dict[str, Node]) -> Iterator[Background]:
    """Start it; the units are looked at before."""
    for node in nodes.values():
        _seen = node.at_start
    with ThreadPoolExecutor(max_workers=16) as pool:
        yield start(pool, deployment, nodes)
