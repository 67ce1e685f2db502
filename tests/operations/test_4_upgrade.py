# SPDX-License-Identifier: GPL-3.0-or-later
"""RabbitMQ is upgraded when that is asked for and possible, and never else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from operating import Machines

UPGRADE = "playbooks/upgrade_broker.yml"
MARK = "+celeryops1"
#: A repository of our own making: the installed package under a newer version, signed.
REPOSITORY = f"""
export DEBIAN_FRONTEND=noninteractive GNUPGHOME=/root/gnupg
apt-get -qq update && apt-get -qq install gnupg >/dev/null
mkdir -p /srv/repository /root/gnupg && chmod 700 /root/gnupg && cd /srv/repository
old=$(dpkg-query -W -f '${{Version}}' rabbitmq-server) new=${{old%{MARK}}}{MARK}
apt-get -qq download rabbitmq-server="${{old}}"
rm -rf /root/package && dpkg-deb -R rabbitmq-server_*.deb /root/package && rm rabbitmq-server_*.deb
sed -i "s/^Version: .*/Version: $new/" /root/package/DEBIAN/control
dpkg-deb -b /root/package rabbitmq-server.deb >/dev/null
{{ dpkg-deb -f rabbitmq-server.deb; echo "Filename: ./rabbitmq-server.deb"
   echo "Size: $(stat -c %s rabbitmq-server.deb)"
   echo "SHA256: $(sha256sum rabbitmq-server.deb | cut -d' ' -f1)"; }} > Packages
{{ echo "Date: $(LC_ALL=C date -Ru)"; echo SHA256:
   echo " $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages"; }} > Release
gpg --list-keys tests@example.org >/dev/null 2>&1 ||
  gpg --batch --quiet --passphrase '' --quick-generate-key tests@example.org default default never
gpg --batch --quiet --yes --clearsign --output InRelease Release
gpg --batch --armor --export tests@example.org
"""
PING = "from shop import tasks; print(tasks.ping.delay().get(timeout=60))"


def installed(machines: Machines) -> str:
    return machines.run("dpkg-query -W -f '${Version}' rabbitmq-server")


@pytest.fixture(scope="module")
def repository(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What makes the newer version known to apt."""
    key = tmp_path_factory.mktemp("keys") / "tests.asc"
    key.write_text(machines.run(REPOSITORY), encoding="utf-8")
    return {"uris": "file:/srv/repository", "suites": "./", "key": str(key)}


def test_nothing_else_upgrades_it(machines: Machines, repository: dict[str, Any]) -> None:
    before = installed(machines)
    machines.playbook("playbooks/facts.yml", "playbooks/broker.yml", rabbitmq_repository=repository)
    assert MARK in machines.run("apt-cache madison rabbitmq-server")
    machines.run("DEBIAN_FRONTEND=noninteractive apt-get -qq dist-upgrade rabbitmq-server >/dev/null")
    assert installed(machines) == before
    assert MARK not in before


def test_not_while_there_is_an_alarm(machines: Machines, repository: dict[str, Any]) -> None:
    before = installed(machines)
    machines.run(
        "rabbitmqctl -q set_disk_free_limit 900TB; until rabbitmqctl -q status | grep -q -i disk.*alarm; do :; done"
    )
    try:
        outcome = machines.playbook(UPGRADE, check=False, rabbitmq_repository=repository)
    finally:
        machines.run("rabbitmqctl -q set_disk_free_limit 1GB")
    assert outcome.code != 0
    assert "There are alarms (disk on rabbit@stack): see to these first" in outcome.said
    assert installed(machines) == before


def test_not_to_what_is_not_there(machines: Machines, repository: dict[str, Any]) -> None:
    outcome = machines.playbook(UPGRADE, check=False, rabbitmq_repository=repository, rabbitmq_version="9.")
    assert "apt knows no rabbitmq-server 9., only " in outcome.said


def test_it_is_upgraded_and_held_again(
    machines: Machines, repository: dict[str, Any], celery_run: Callable[[str], str], tmp_path: Path
) -> None:
    machines.playbook(UPGRADE, rabbitmq_repository=repository, backup_directory=str(tmp_path))
    assert installed(machines).endswith(MARK)
    assert "rabbitmq-server" in machines.run("apt-mark showhold").split()
    assert machines.run("systemctl is-active rabbitmq-server").strip() == "active"
    assert [path.name for path in tmp_path.glob("*/rabbitmq.json")] == ["rabbitmq.json"]
    assert celery_run(PING).strip()
    machines.playbook(UPGRADE, rabbitmq_repository=repository, backup_directory=str(tmp_path))
    assert installed(machines).endswith(MARK)
