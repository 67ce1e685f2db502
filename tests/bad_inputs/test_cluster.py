# SPDX-License-Identifier: GPL-3.0-or-later
"""What would break a RabbitMQ cluster is refused with one sentence, and the cluster serves on.

Run by molecule against the cluster that it deployed:
    pytest tests/bad_inputs/test_cluster.py --inventory=molecule/cluster/inventory --machine=cluster/broker1
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ANSIBLE = str(Path(sys.executable).with_name("ansible-playbook"))
#: Which process each node is, who is in the cluster, and that its queues have their leaders.
STATE = r"""
pgrep -x beam.smp
rabbitmqctl -q cluster_status --formatter json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["running_nodes"])'
rabbitmqctl -q list_queues -p celery name state | sort
find /etc/rabbitmq /var/lib/rabbitmq/.erlang.cookie -type f | sort | xargs sha256sum
"""


@dataclass(frozen=True)
class Case:
    """What is wrong: the hosts of the group, variables of some of them, and those of the command line."""

    says: str
    brokers: tuple[str, ...] = ("broker1", "broker2", "broker3")
    of_hosts: dict[str, dict[str, str]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    playbook: str = "site.yml"


SECRET = "another-cookie-of-a-test"
CASES = {
    "another cookie than the cluster's": Case(
        "rabbitmq_erlang_cookie is not the one that the cluster of rabbit@broker1 has",
        variables={"rabbitmq_erlang_cookie": SECRET},
    ),
    "a member that the inventory no longer has": Case(
        "rabbit@broker1 is in one cluster with rabbit@broker2, rabbit@broker3, which the inventory does not name",
        brokers=("broker1",),
    ),
    "data of another name": Case(
        "This host holds the data of rabbit@broker2, beside which rabbit@other would begin with none",
        of_hosts={"broker2": {"rabbitmq_node_name": "rabbit@other"}},
    ),
    "a node to forget that runs": Case(
        "rabbit@broker3 runs: stop it first",
        variables={"node": "rabbit@broker3"},
        playbook="playbooks/forget_broker.yml",
    ),
    "a node to forget that nobody knows": Case(
        "rabbit@broker9 is no member of the cluster: write -e node= with one of rabbit@broker1",
        variables={"node": "rabbit@broker9"},
        playbook="playbooks/forget_broker.yml",
    ),
    "no node to forget": Case("No node is named; write -e node=", playbook="playbooks/forget_broker.yml"),
}


def wrong(good: Path, place: Path, case: Case) -> Path:
    """The inventory with other brokers, or other variables of them."""
    content = yaml.safe_load((good / "hosts.yml").read_text())
    content["all"]["children"]["broker"]["hosts"] = {name: case.of_hosts.get(name) for name in case.brokers}
    (place / "group_vars").symlink_to((good / "group_vars").resolve())
    content["all"]["vars"] |= {  # what the inventory says relative to its own place
        "ansible_ssh_common_args": f"-F {ROOT}/.cache/cluster/ssh_config",
        "app_source": str(ROOT / "molecule/reliability/app"),
        "celery_tls_ca_directory": str(ROOT / ".cache/cluster/tls"),
    }
    (place / "hosts.yml").write_text(yaml.safe_dump(content))
    return place


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, on_host: Callable[[str], str], inventory: str, tmp_path: Path) -> None:
    case = CASES[name]
    chosen = wrong(Path(inventory), tmp_path, case)
    before = on_host(STATE)
    extra: dict[str, Any] = {"app_source": str(ROOT / "molecule/reliability/app"), **case.variables}
    command = [ANSIBLE, case.playbook, "--inventory", str(chosen), "-e", json.dumps(extra)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert case.says in said
    assert "Traceback" not in said
    assert SECRET not in said
    assert on_host(STATE) == before
