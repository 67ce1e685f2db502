# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate is renewed: new connections get it, and those that are open never notice.

Run by molecule against a host with everything on it:
    pytest tests/renewal --inventory=molecule/debian12/inventory --machine=debian12/debian12
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANSIBLE = str(Path(sys.executable).with_name("ansible-playbook"))
PLAYBOOKS = [str(ROOT / "playbooks" / name) for name in ("broker.yml", "backend.yml")]
#: More days than the certificates that are there have left.
RENEW = {"celery_tls_days": 800, "celery_tls_renew_days": 700}
SIGNAL = "/var/lib/celery/renewed"

SERIALS = r"""
for port in 5671 15671 6379; do
  openssl s_client -connect 127.0.0.1:$port </dev/null 2>/dev/null | openssl x509 -noout -serial
done
for service in rabbitmq redis; do openssl x509 -noout -serial -in /etc/$service/tls/cert.pem; done
"""
KEYS = "sha256sum /etc/rabbitmq/tls/key.pem /etc/redis/tls/key.pem"
PROCESSES = "systemctl show --property=Id,MainPID rabbitmq-server redis-server 'celery-worker-*@*.service'"
#: Two connections of the application, asked before and after on the same socket.
HOLD = f"""
rm -f {SIGNAL}
cat > /var/lib/celery/hold.py <<'END'
import json, os, time
from celery.utils.imports import symbol_by_name
from redis import Redis

app = symbol_by_name(json.load(open(os.environ["CELERYOPS_SETTINGS"]))["app"])
backend = {{k: v for k, v in app.conf.redis_backend_use_ssl.items()}}
with app.connection() as broker, broker.channel() as channel:
    store = Redis.from_url(app.conf.result_backend, single_connection_client=True, **backend)
    sockets = [broker.connection.transport.sock, store.connection._sock]
    first = store.client_id()
    queue = app.conf.task_default_queue
    channel.queue_declare(queue, passive=True)
    print("holding", flush=True)
    deadline = time.monotonic() + 300
    while not os.path.exists("{SIGNAL}") and time.monotonic() < deadline:
        time.sleep(0.2)
        broker.heartbeat_check()
        try:
            broker.drain_events(timeout=0.1)
        except TimeoutError:
            pass
    channel.queue_declare(queue, passive=True)
    same = [broker.connection.transport.sock, store.connection._sock] == sockets and store.client_id() == first
    print(json.dumps({{"same": same, "signalled": os.path.exists("{SIGNAL}")}}))
END
/usr/local/sbin/celery-run python /var/lib/celery/hold.py </dev/null
rm -f /var/lib/celery/hold.py {SIGNAL}
"""


class Host:
    """Root's shell on it."""

    def __init__(self, machine: str) -> None:
        scenario, host = machine.split("/")
        self.ssh = ["ssh", "-F", str(ROOT / ".cache" / scenario / "ssh_config"), host, "bash", "-s"]

    def run(self, script: str) -> str:
        """What a script prints; it must succeed."""
        done = subprocess.run(self.ssh, input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, script: str) -> subprocess.Popen[str]:
        """A script that goes on."""
        process = subprocess.Popen(self.ssh, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin
        process.stdin.write(script)
        process.stdin.close()
        return process


@pytest.fixture(scope="session")
def host(pytestconfig: pytest.Config) -> Host:
    return Host(pytestconfig.getoption("machine"))


@pytest.fixture(scope="session")
def inventory(pytestconfig: pytest.Config) -> str:
    return str(pytestconfig.getoption("inventory"))


def run(inventory: str, **variables: int | str) -> subprocess.CompletedProcess[str]:
    """The playbooks of broker and backend."""
    extra = ["--inventory", inventory, "--extra-vars", json.dumps(variables)]
    config = os.environ.get("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    environment = {**os.environ, "ANSIBLE_CONFIG": config, "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(
        [ANSIBLE, *PLAYBOOKS, *extra], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )


def play(inventory: str, **variables: int | str) -> str:
    """What they say; they must succeed."""
    done = run(inventory, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_renewal(host: Host, inventory: str) -> None:
    before, keys, processes = host.run(SERIALS).split(), host.run(KEYS), host.run(PROCESSES)
    assert len(before) == 5
    with host.start(HOLD) as holding:
        assert holding.stdout
        assert holding.stdout.readline() == "holding\n"

        play(inventory, **RENEW)

        amqp, management, redis, of_rabbitmq, of_redis = host.run(SERIALS).split()
        assert (amqp, management, redis) == (of_rabbitmq, of_rabbitmq, of_redis), "new connections get an old one"
        assert not {amqp, management, redis} & set(before), "it was not renewed"
        assert host.run(KEYS) == keys, "a renewal makes no new private key"
        assert host.run(PROCESSES) == processes, "something was restarted"

        host.run(f"touch {SIGNAL}")
        outcome = json.loads(holding.stdout.read().splitlines()[-1])
        assert outcome == {"same": True, "signalled": True}, "connections that were open did not live"
    assert holding.returncode == 0

    assert "changed=0" in play(inventory), "a renewed certificate is renewed again"


def test_a_controller_without_the_ca_makes_no_new_one(host: Host, inventory: str, tmp_path: Path) -> None:
    before = host.run(SERIALS)
    folder = tmp_path / "tls"
    done = run(inventory, celery_tls_ca_directory=str(folder))
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())  # molecule has failures on standard error
    assert f"celery_tls_ca_directory ({folder}) holds no CA on this machine, but this host knows one already" in said
    assert "changed=0" in done.stdout
    assert not folder.exists()
    assert host.run(SERIALS) == before
