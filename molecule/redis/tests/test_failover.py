# SPDX-License-Identifier: GPL-3.0-or-later
"""The primary is restarted or lost: nothing that was accepted is lost, and nothing that was done comes back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INVENTORY = ROOT / "molecule/redis/inventory"
PLAYBOOKS = [f"playbooks/{name}.yml" for name in ("facts", "broker", "backend", "workers")]
HOSTS, WORKER = ("redis1", "redis2", "redis3"), "redis3"
PASSWORD, BROKER_PASSWORD = "sentinel-password-of-a-test", "broker-password-of-a-test"
REDIS_CLI = "redis-cli --tls --cacert /etc/redis/tls/ca.pem --no-auth-warning"
LOG = "/var/log/redis/redis-server.log"
#: A host without power says nothing to anybody any more; only this test still reaches it.
WITHOUT_POWER = """
table inet power {
  chain in { type filter hook input priority 0; policy drop; iif lo accept; tcp dport 22 accept; }
  chain out { type filter hook output priority 0; policy drop; oif lo accept; tcp sport 22 accept; }
}
"""
#: Sends a task every tenth of a second, tells when each was accepted, and at the end how many came back.
SENDER = """
import json, sys, time
from shop import tasks
results, gap, end = [], 0.0, time.monotonic() + float(sys.argv[1])
last = time.monotonic()
refused = []
while time.monotonic() < end:
    try:
        results.append(tasks.ping.apply_async(queue="default"))
    except Exception as error:
        refused.append(repr(error))
    else:
        gap, last = max(gap, time.monotonic() - last), time.monotonic()
    time.sleep(0.1)
done = 0
again = 0
for result in results:
    for last in (False, True):  # who has asked the lost primary asks once more
        try:
            result.get(timeout=60)
            done += 1
            break
        except Exception as error:
            again += 1
            if last:
                refused.append("result: " + repr(error))
told = {"accepted": len(results), "done": done, "gap": round(gap, 1), "asked again": again, "refused": refused[:5]}
print(json.dumps(told))
"""


def on(host: str, script: str) -> str:
    """What a script prints on a host."""
    command = ["ssh", "-F", str(ROOT / ".cache/redis/ssh_config"), host, "bash", "-eus"]
    done = subprocess.run(command, input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{host}: {script}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def role(host: str) -> str:
    """What the Redis of a host is: master or slave, and for a copy whether it has everything."""
    ask = f"REDISCLI_AUTH={PASSWORD} {REDIS_CLI} --user sentinel"
    said = on(host, f"systemctl -q is-active redis-server && {ask} info replication || true")
    found = re.search(r"role:(\w+)", said)
    link = re.search(r"master_link_status:(\w+)", said)
    return " ".join(match[1] for match in (found, link) if match)


def primary() -> str:
    """The one primary."""
    (name,) = [host for host in HOSTS if role(host) == "master"]
    return name


def wait(what: str, condition: Callable[[], object], seconds: float = 60) -> None:
    """Until it is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}; {[role(host) for host in HOSTS]}"
        time.sleep(0.3)


def power_off(host: str) -> None:
    """What runs there ends, and nobody hears of it: connections stay open for who had them."""
    on(host, f"nft -f - <<'END'{WITHOUT_POWER}END\nsystemctl kill -s KILL redis-server redis-sentinel")
    on(host, "systemctl stop redis-server redis-sentinel")  # or systemd would start them again


def power_on(host: str) -> None:
    """It is heard again, and its services start."""
    on(host, "nft delete table inet power && systemctl start redis-sentinel redis-server")


def next_run(*arguments: str) -> str:
    """What site.yml does to the broker and to whoever asks it for its primary."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "--inventory", str(INVENTORY), *PLAYBOOKS]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(
        [*command, *arguments], text=True, capture_output=True, check=False, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_replica_takes_over_and_nothing_is_lost() -> None:
    before = primary()
    assert before != WORKER, "whoever sends would lose power, too"
    command = ["ssh", "-F", str(ROOT / ".cache/redis/ssh_config"), WORKER, "celery-run", "python", "-", "40"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdin
        assert sender.stdout
        sender.stdin.write(SENDER)
        sender.stdin.close()
        time.sleep(8)  # the first tasks flow
        start = time.monotonic()
        power_off(before)
        wait("another is the primary", lambda: [host for host in HOSTS if host != before and role(host) == "master"])
        took = time.monotonic() - start
        told = json.loads(sender.stdout.read())
        assert sender.wait() == 0
    print(f"failover after {took:.1f} s; {told}")
    assert told["accepted"] > 100
    assert told["done"] == told["accepted"], told
    assert told["gap"] < 20, told
    power_on(before)
    wait("the former primary is a copy", lambda: role(before) == "slave up")


def test_the_next_run_leaves_it_at_that() -> None:
    now = primary()
    assert now != HOSTS[0], "the failover above did not go away from the inventory's first host"
    recap = next_run()
    assert not re.findall(r"changed=[1-9]\d*", recap), recap
    assert primary() == now


def test_a_new_configuration_goes_round_host_by_host() -> None:
    """And the primary is down for so short a time that it stays what it is."""
    next_run("-e", "redis_maxmemory=300MB")
    assert sorted(role(host) for host in HOSTS) == ["master", "slave up", "slave up"]
    for host in HOSTS:
        assert on(host, "grep -c ^maxmemory.300MB /etc/redis/redis.conf") == "1"


def as_worker(host: str, *commands: str) -> list[str]:
    """What Redis answers to a worker, line by line."""
    lines = "\n".join(commands)
    return on(host, f"REDISCLI_AUTH={BROKER_PASSWORD} {REDIS_CLI} --user celery <<'END'\n{lines}\nEND").splitlines()


def test_a_restart_brings_back_nothing_that_was_done() -> None:
    host = primary()
    as_worker(host, "SET restart-test-done 1", "MULTI", "DEL restart-test-done", "SET restart-test-kept 1", "EXEC")
    lines = int(on(host, f"wc -l < {LOG}"))
    on(host, "systemctl restart redis-server")
    wait("all is as it was", lambda: sorted(map(role, HOSTS)) == ["master", "slave up", "slave up"])
    now = primary()
    try:
        assert now == host, "another took over, so this shows nothing"
        said = on(host, f"tail -n +{lines + 1} {LOG}")
        assert "sending an error to its AOF" not in said, said
        assert as_worker(host, "EXISTS restart-test-done", "EXISTS restart-test-kept") == ["0", "1"]
    finally:
        as_worker(now, "DEL restart-test-done restart-test-kept")


@pytest.mark.parametrize("password", ["", "default", "x"])
def test_nobody_is_the_default_user(password: str) -> None:
    """It has every right, as Redis reads its own file with them; so it must let nobody in."""
    for host in HOSTS:
        said = on(host, f"{REDIS_CLI} <<'END'\nAUTH default '{password}'\nPING\nEND")
        assert "WRONGPASS" in said
        assert "NOAUTH" in said
