# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input ends in one clear sentence, and leaves a real host exactly as it was.

Run by molecule against a host on which nothing is deployed yet:
    pytest tests/bad_inputs/test_refused.py --inventory=molecule/default/inventory --machine=default/debian13
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ROOT = Path(__file__).parents[2]
PLAYBOOK = [str(Path(sys.executable).with_name("ansible-playbook")), str(ROOT / "site.yml")]
SECRET = "s3cret-of-the-test"

#: What is wrong, the variables that make it so, and what the sentence must say: the variable and the remedy.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a database as broker": (
        {"celery_broker": "sqla+postgresql://user@db/tasks"},
        ["celery_broker uses 'sqla+postgresql', a database", "write rabbitmq, redis or a URL"],
    ),
    "a broker for tests": ({"celery_broker": "memory://"}, ["celery_broker uses 'memory'", "write rabbitmq, redis"]),
    "a soft limit not below the hard one": (
        {"celery_workers": {"default": {"soft_time_limit": 60, "time_limit": 60}}},
        ["celery_workers['default']: soft_time_limit (60 s) is not below time_limit (60 s)", "write a soft_time_limit"],
    ),
    "an unknown key": (
        {"celery_workers": {"default": {"concurency": 2}}},
        ["celery_workers['default'] has an unknown key 'concurency'", "did you mean 'concurrency'?"],
    ),
    "two units of one name": (
        {"celery_workers": {"mail_out": {}, "mail-out": {}}},
        ["celery_workers: 'mail_out' and 'mail-out' would both be the unit", "rename one of them"],
    ),
    "no worker at all": ({"celery_workers": {}}, ["celery_workers names no worker", "write at least one entry"]),
    "no application": ({"celery_app": ""}, ["celery_app is not set", "write where your Celery application is"]),
    "no source of the application": ({"app_source": ""}, ["app_source is not set", "write what to release"]),
    "an application that is not there": (
        {"app_source": "/nowhere/shop"},
        ["app_source names the directory /nowhere/shop, which is not there", "write the path of your project"],
    ),
    "a DSN without its key": (
        {"celery_sentry_dsn": "https://tracker.example.org/1"},
        ["sentry_dsn"],
    ),
    "Flower in public without a login": (
        {"flower_address": "203.0.113.7", "flower_user": "", "flower_password": ""},
        ["flower_address", "flower_user", "flower_password"],
    ),
    "a name that no role knows": (
        {"celery_wrokers": {"default": {}}},
        ["celery_wrokers is no variable of this collection (did you mean 'celery_workers'?)", "correct the name"],
    ),
    "a password that is an example's": (
        {"flower_password": "change-me-please"},
        ["flower_password is still a placeholder", "write a value of its own"],
    ),
    "a password that is nowhere": (
        {"celery_broker_password": "{{ vault_of_nobody }}"},
        ["celery_broker_password uses vault_of_nobody, which is not defined", "define it"],
    ),
    "more memory than the host has": (
        {"celery_workers": {"default": {"memory_max": "64T"}}},
        ["of memory, and its units may take", "memory_max of default", "lower some of them"],
    ),
    "a port that sshd has": (
        {"redis_port": 22},
        ["redis_port is 22, where ssh", "write another port"],
    ),
    "several at once": (
        {"celery_app": "", "flower_port": 1, "rabbitmq_port": "many"},
        [
            "3 things have to be corrected first",
            "celery_app is not set",
            "flower_port is 1: write a whole number from 1024",
            "rabbitmq_port is 'many'; write a whole number",
        ],
    ),
    "a password inside the broker's URL": (
        {"celery_broker": f"amqp://user:{SECRET}@broker/vhost"},
        ["celery_broker carries a password", "celery_broker_password"],
    ),
    "a broker in the clear where everything is encrypted": (
        {"celery_tls": True, "celery_broker": "amqp://user@broker/vhost"},
        ["celery_tls is true, but celery_broker is a plain amqp:// URL", "write amqps://"],
    ),
    "a CA that is not there": (
        {"celery_tls": True, "celery_tls_ca_certificate": "/nowhere/ca.pem"},
        ["celery_tls_ca_certificate names /nowhere/ca.pem, which is not on this machine", "write the whole path"],
    ),
}

#: Certificates of somebody else: from which day on, how long, for which address; and what the sentence must say.
CERTIFICATES: dict[str, tuple[int, int, str, str]] = {
    "expired": (-20, 10, "127.0.0.1", "expired on"),
    "not yet valid": (10, 10, "127.0.0.1", "is not valid before"),
    "of another host": (-1, 10, "192.0.2.1", "is not for 127.0.0.1"),
    "of another key": (-1, 10, "127.0.0.1", "is not the key of celery_tls_certificate"),
    "of another CA": (-1, 10, "127.0.0.1", "was not signed by celery_tls_ca_certificate"),
}

#: Everything that a deployment would change: packages, users, units, and the files where it puts things.
SNAPSHOT = r"""
dpkg-query --show --showformat '${Package} ${Version} ${Status}\n' | sha256sum
sha256sum /etc/passwd /etc/group
find /etc /opt /srv /usr/local /var/lib/{celery,rabbitmq,redis,bugsink,private} \
    -printf '%p %y %m %u %s %T@\n' 2>/dev/null | sort | sha256sum
systemctl list-units --all --plain --no-legend --type=service,target,socket | awk '{print $1, $3}' | sort | sha256sum
"""


def refused(inventory: str, variables: dict[str, Any]) -> str:
    """What site.yml says of these variables, once it has failed."""
    extra = ["--inventory", inventory, "--extra-vars", json.dumps(variables)]
    environment = {**os.environ, "ANSIBLE_CONFIG": os.environ.get("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))}
    done = subprocess.run([*PLAYBOOK, *extra], capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode != 0, f"it was accepted:\n{done.stdout}"
    return done.stdout + done.stderr


def certificate(start: int, days: int, address: str) -> tuple[bytes, bytes]:
    """One that signed itself, which makes it its own CA, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    first = datetime.now(UTC) + timedelta(days=start)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(first).not_valid_after(first + timedelta(days=days))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), private


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, on_host: Callable[[str], str], inventory: str) -> None:
    variables, sentence = REFUSED[name]
    before = on_host(SNAPSHOT)
    output = refused(inventory, variables)
    after = on_host(SNAPSHOT)
    said = " ".join(output.split())
    for part in sentence:
        assert part in said, output
    assert "Traceback" not in output
    assert SECRET not in output
    assert "changed=0" in output
    assert after == before, "the host was changed"


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificates_are_refused(name: str, on_host: Callable[[str], str], inventory: str, tmp_path: Path) -> None:
    start, days, address, sentence = CERTIFICATES[name]
    mine, key = certificate(start, days, address)
    another, another_key = certificate(-30, 365, address)
    files = {
        "celery_tls_certificate": mine,
        "celery_tls_private_key": another_key if name == "of another key" else key,
        "celery_tls_ca_certificate": another if name == "of another CA" else mine,
    }
    for variable, content in files.items():
        (tmp_path / variable).write_bytes(content)
    before = on_host(SNAPSHOT)
    output = refused(inventory, {"celery_tls": True, **{name: str(tmp_path / name) for name in files}})
    said = " ".join(output.split())
    assert sentence in said, output
    assert "PRIVATE KEY" not in output
    assert "changed=0" in output
    assert on_host(SNAPSHOT) == before, "the host was changed"


def test_the_snapshot_notices_a_change(on_host: Callable[[str], str]) -> None:
    """Without this, the test above could compare nothing with nothing."""
    before = on_host(SNAPSHOT)
    on_host("touch /etc/celeryops-was-here")
    changed = on_host(SNAPSHOT)
    on_host("rm /etc/celeryops-was-here")
    assert changed != before
