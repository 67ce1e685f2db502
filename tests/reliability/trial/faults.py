# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong, or is changed, while tasks flow. A fault returns when its cause is over, not when all is well."""

from __future__ import annotations

import json
import random
import shlex
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import unquote, urlsplit

from trial import hosts
from trial.hosts import BROKERS, WORKERS, HostError, await_true
from trial.ledger import Effect, Ledger
from trial.load import Stream
from trial.sides import sender

#: How long a network is cut, and a broker silent: longer than it takes both sides to notice.
CUT_SECONDS, SILENT_SECONDS = 60, 40
#: How long a node of a cluster is stopped, and lets nobody publish.
STOPPED_SECONDS, ALARM_SECONDS = 60, 15
#: A task of the queue `slow` that needs nearly all of its hard limit of 40 s.
NEARLY_THE_LIMIT = 35
#: Seconds that a unit may take to restart among tasks of 5 s: those it was given last, and its start.
WARM_STOP = 20
#: How long a result backend is full.
FULL_SECONDS = 20
#: Makes a Redis full for so many seconds, with the rights of the workers: with large values at first, then, as whoever
#: has a connection less leaves a little room, with small ones again and again.
FILL = """
export REDISCLI_AUTH={password}
fill() {{
  head -c "$1" /dev/zero | tr '\\0' x | redis-cli --user {user} --no-auth-warning -n {database} -x set "filler-$2"
}}
number=0
for size in 1000000 20000 500 1; do
  until fill "$size" "$number" | grep OOM; do
    number=$((number + 1))
    [ "$number" -lt 5000 ]
  done
done
end=$(($(date +%s) + {seconds}))
while [ "$(date +%s)" -lt "$end" ]; do
  number=$((number + 1))
  fill 1 "$number"
done | grep -c OOM
"""
#: What the workers of a host say of it in the journal, while they say it to systemd.
SAID = """
systemctl show --property=StatusText 'celery-worker-*@*.service' | grep -q 'waiting for the result backend' || exit 0
journalctl --unit='celery-worker-*' -p err --since=@{since} --output=cat | grep 'Results cannot be stored' || true
"""
#: Makes room again.
EMPTY = """
export REDISCLI_AUTH={password}
redis-cli --user {user} --no-auth-warning -n {database} --scan --pattern 'filler-*' |
  xargs -n 100 redis-cli --user {user} --no-auth-warning -n {database} del
"""
WORKER_UNITS = "systemctl list-units --plain --no-legend 'celery-worker-*@*.service' | cut -d' ' -f1"
#: What certificate new connections are shown.
SERIAL = "openssl s_client -connect 127.0.0.1:5671 </dev/null 2>/dev/null | openssl x509 -noout -serial"
#: Seconds that long tasks take among which a release goes out.
LONG = 10


@dataclass(frozen=True)
class Victim:
    """A process that runs a task."""

    host: str
    pid: int
    main: int  # the same in a pool of threads


@dataclass
class Scene:
    """What a fault may use."""

    stream: Stream
    ledger: Ledger
    version: str | None = None  # of the application that should run now, if the fault changed it

    def victim(self, *, child: bool = False) -> Victim:
        """The process of a task that runs now and will for a while: what hits it hits where it hurts."""
        found: list[Victim] = []

        def look() -> bool:
            self.ledger.update()
            running = self.ledger.running(time.time(), at_least=0.7)
            random.shuffle(running)
            for effect in running:
                main = hosts.main_process(effect.host, effect.pid)
                if main is not None and not (child and main == effect.pid):
                    found.append(Victim(effect.host, effect.pid, main))
                    return True
            return False

        await_true("a task runs that takes long enough to be hit", look, 60)
        return found[0]

    def await_start(self, task_id: str | None) -> Effect:
        """Wait until this task, which must have been accepted, begins."""
        return self._await(task_id, "start", 60)

    def await_end(self, task_id: str | None, seconds: float) -> Effect:
        """Wait until it is done."""
        return self._await(task_id, "end", seconds)

    def _await(self, task_id: str | None, event: str, seconds: float) -> Effect:
        if task_id is None:
            raise RuntimeError(f"the task was not accepted: {self.stream.refused[-1]}")
        found: list[Effect] = []

        def look() -> bool:
            self.ledger.update()
            found[:] = [e for e in self.ledger.effects if e.id == task_id and e.event == event]
            return bool(found)

        await_true(f"task {task_id} comes to its {event}", look, seconds, pause=0.5)
        return min(found, key=lambda effect: effect.at)  # by now it may have begun once more


# --- processes --------------------------------------------------------------------------------------------------------


def kill_main(scene: Scene) -> None:
    victim = scene.victim()
    hosts.signal(victim.host, "KILL", victim.main)


def kill_child(scene: Scene) -> None:
    victim = scene.victim(child=True)
    hosts.signal(victim.host, "KILL", victim.pid)


def out_of_memory(scene: Scene) -> None:
    """One task outgrows MemoryMax when it is tried first; the kernel must have killed its process."""
    start = scene.await_start(scene.stream.send("effects.hungry", 0.1, 1000))
    gone = f"process {start.pid} on {start.host} is killed"
    await_true(gone, lambda: not hosts.is_there(start.host, start.pid), 25)


def hang_main(scene: Scene) -> None:
    """A stopped process answers nothing; systemd must notice and kill it."""
    victim = scene.victim()
    hosts.signal(victim.host, "STOP", victim.main)
    gone = f"process {victim.main} on {victim.host} is killed"
    await_true(gone, lambda: not hosts.is_there(victim.host, victim.main), 90, pause=0.5)


# --- broker, network, power -------------------------------------------------------------------------------------------


def restart_broker(scene: Scene) -> None:
    hosts.run(hosts.broker(), "systemctl", "restart", hosts.SERVICE)


def kill_broker(scene: Scene) -> None:
    hosts.run(hosts.broker(), "pkill", "-KILL", "-x", hosts.PROCESS)


def cut_network(scene: Scene) -> None:
    host = scene.victim().host
    hosts.cut(host, *BROKERS)
    try:
        time.sleep(CUT_SECONDS)
    finally:
        hosts.mend(host)


def silence_broker(scene: Scene) -> None:
    """The kernel goes on accepting connections, and nobody answers on them."""
    silence(hosts.broker(), hosts.PROCESS)


def silence(host: str, process: str) -> None:
    hosts.run(host, "pkill", "-STOP", "-x", process)
    try:
        time.sleep(SILENT_SECONDS)
    finally:
        hosts.run(host, "pkill", "-CONT", "-x", process)


def cut_power(scene: Scene) -> None:
    host = scene.victim().host
    hosts.power_off(host)
    hosts.power_on(host)


# --- the result backend -----------------------------------------------------------------------------------------------


def restart_backend(scene: Scene) -> None:
    hosts.run(hosts.BACKENDS[0], "systemctl", "restart", "redis-server.service")


def kill_backend(scene: Scene) -> None:
    hosts.run(hosts.BACKENDS[0], "pkill", "-KILL", "-x", "redis-server")


def silence_backend(scene: Scene) -> None:
    silence(hosts.BACKENDS[0], "redis-server")


def login(url: str) -> dict[str, str]:
    """Who may store results, and in which database."""
    parts = urlsplit(url)
    return {
        "user": shlex.quote(unquote(parts.username or "")),
        "password": shlex.quote(unquote(parts.password or "")),
        "database": str(int(parts.path.strip("/") or 0)),
    }


def fill_backend(scene: Scene) -> None:
    """It answers, and keeps nothing more; the deployed workers say so meanwhile, and no control does."""
    words, since = login(hosts.result_backend()), time.time()
    filling = ThreadPoolExecutor(1).submit(hosts.shell, hosts.BACKENDS[0], FILL.format(seconds=FULL_SECONDS, **words))
    try:
        for host in WORKERS:
            if hosts.shell(host, WORKER_UNITS).strip():
                said = SAID.format(since=int(since))
                await_true(f"a worker of {host} says that it waits", partial(hosts.shell, host, said), 2 * FULL_SECONDS)
    finally:
        filling.result()
        hosts.shell(hosts.BACKENDS[0], EMPTY.format(**words))


# --- one of several brokers -------------------------------------------------------------------------------------------


def lose_primary(scene: Scene) -> None:
    """The host of the primary loses power, and comes back when another has taken over."""
    host = hosts.broker()

    def another() -> bool:
        try:
            return hosts.broker() != host
        except HostError:  # the Sentinels still name the address of the one that is off
            return False

    hosts.power_off(host)
    try:
        await_true(f"another than {host} is the primary", another, 60)
    finally:
        hosts.power_on(host)


def isolate_primary(scene: Scene) -> None:
    """The primary's host reaches none of the others any more, but the producer, which is on its side."""
    host = hosts.broker()
    hosts.cut(host, *(other for other in (*BROKERS, *WORKERS) if other != host))
    try:
        time.sleep(CUT_SECONDS)
    finally:
        hosts.mend(host)


# --- what an operator does --------------------------------------------------------------------------------------------


def restart_units(scene: Scene) -> None:
    """Each unit in turn, as after an update of the host's libraries; none stops for longer than its tasks need."""
    for host in WORKERS:
        for unit in hosts.shell(host, WORKER_UNITS).split():
            start = time.monotonic()
            hosts.run(host, "systemctl", "restart", unit)
            if (seconds := time.monotonic() - start) > WARM_STOP:
                raise RuntimeError(f"{unit} on {host} took {seconds:.0f} s to restart")


def source(version: str) -> str:
    """The same application in that version."""
    folder = hosts.CACHE / "app"
    shutil.copytree(hosts.ROOT / "molecule" / "reliability" / "app", folder, dirs_exist_ok=True)
    (folder / "VERSION").write_text(f"{version}\n", encoding="utf-8")
    return str(folder)


def version_of(link: str) -> str:
    """The version behind one of the links to a release."""
    return hosts.run(WORKERS[0], "cat", f"/opt/celery/app/{link}/src/VERSION").strip()


def release(scene: Scene) -> None:
    scene.version = str(int(time.time()))  # never there before
    hosts.playbook("playbooks/release.yml", "-e", f"app_source={source(scene.version)}")


def something_to_go_back_to(scene: Scene) -> None:
    """There is, after a release; not any more, after a rollback."""
    if not hosts.shell(WORKERS[0], "readlink /opt/celery/app/previous || true"):
        release(scene)


def roll_back(scene: Scene) -> None:
    scene.version = version_of("previous")
    hosts.playbook("playbooks/rollback.yml")


def change_limit(scene: Scene) -> None:
    """Every unit of one entry gets another limit: at each turn a new one, or it would be no change."""
    workers = {name: dict(entry) for name, entry in hosts.variables()["celery_workers"].items()}
    workers["fast"]["time_limit"] += 1 + int(time.time()) % 1000
    changes = {"celery_workers": workers, "app_source": source(version_of("current"))}
    hosts.playbook("site.yml", "-e", json.dumps(changes))
    for host in WORKERS:  # fails where no worker has it
        hosts.run(host, "pgrep", "--full", f"[-]-time-limit={workers['fast']['time_limit']}")


def release_near_limit(scene: Scene) -> None:
    """The old release's worker must be let finish what takes nearly as long as it may."""
    task_id = scene.stream.send("effects.slow", NEARLY_THE_LIMIT)
    scene.await_start(task_id)
    release(scene)
    scene.await_end(task_id, 2 * NEARLY_THE_LIMIT)


def release_among_long(scene: Scene) -> None:
    """On both hosts there are always tasks that take long, so that each stop must wait for some."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(LONG / 2):
            scene.stream.send("effects.slow", LONG)

    sender = threading.Thread(target=send, name="long tasks")
    sender.start()
    try:
        release(scene)
    finally:
        over.set()
        sender.join()


def rotate(scene: Scene) -> None:
    """Every password of the broker becomes another one; the producer, elsewhere, moves when all others have."""
    generation = hosts.variables().get("celery_generation", 1) + 1
    secrets = {
        f"celery_{user}_password": f"{user}-of-generation-{generation}" for user in ("broker", "producer", "monitor")
    }
    hosts.put({**secrets, "celery_generation": generation})
    refused, no_logins = len(scene.stream.refused), refused_logins()
    hosts.playbook("playbooks/rotate_secrets.yml")
    old, scene.stream.app = scene.stream.app, sender()
    sent = len(scene.stream.accepted)
    await_true("the producer sends as the new user", lambda: len(scene.stream.accepted) > sent + 2, 30)
    old.pool.force_close_all()  # its process would end
    old.close()
    hosts.playbook("playbooks/rotate_secrets.yml", "-e", "producers_moved=true")
    users = {line.split()[0] for line in hosts.rabbitmq(BROKERS[0], "list_users").splitlines()}
    faults = {
        "users": users - {"user", "admin", *(f"{user}-{generation}" for user in ("celery", "producer", "monitor"))},
        "refused tasks": scene.stream.refused[refused:],
        "refused logins": refused_logins() - no_logins,
    }
    if any(faults.values()):
        raise RuntimeError(f"a rotation leaves {faults}")


def refused_logins() -> int:
    """How often somebody came to a broker with a password that was not good."""
    count = "cat /var/log/rabbitmq/*.log | grep -c 'login refused' || true"
    return sum(int(hosts.shell(host, count)) for host in BROKERS)


def renew(scene: Scene) -> None:
    """Every certificate is made again, at a time of the operator's choosing."""
    shown = [hosts.shell(host, SERIAL) for host in BROKERS]
    shutil.rmtree(hosts.CACHE / "tls" / "issued")
    hosts.playbook("playbooks/broker.yml")
    same = [host for host, old in zip(BROKERS, shown, strict=True) if hosts.shell(host, SERIAL) == old]
    if same:
        raise RuntimeError(f"{', '.join(same)} still shows the old certificate")


# --- a cluster of brokers ---------------------------------------------------------------------------------------------


def cluster_is_whole() -> bool:
    """Every node runs and sees every other one."""
    try:
        seen = [json.loads(hosts.rabbitmq(host, "cluster_status", "--formatter", "json")) for host in BROKERS]
    except HostError:
        return False
    return all(len(each["running_nodes"]) == len(BROKERS) and not each["partitions"] for each in seen)


def await_cluster(seconds: float = 150) -> None:
    await_true("all nodes of the cluster run and see each other", cluster_is_whole, seconds, pause=1)


def busiest() -> str:
    """The broker that most clients are connected to: its loss hurts most."""
    await_cluster()
    pids = hosts.rabbitmq(BROKERS[0], "list_connections", "pid")  # <rabbit@broker2.1732365000.912.0>
    return max(BROKERS, key=lambda host: (pids.count(f"rabbit@{host}."), host))


def kill_node(scene: Scene) -> None:
    hosts.run(busiest(), "pkill", "-KILL", "-x", "beam.smp")


def kill_every_node_in_turn(scene: Scene) -> None:
    for host in BROKERS:
        hosts.run(host, "pkill", "-KILL", "-x", "beam.smp")
        await_true("the node is noticed to be gone", lambda: not cluster_is_whole(), 30)
        await_cluster()


def stop_node(scene: Scene) -> None:
    host = busiest()
    hosts.run(host, "systemctl", "stop", "rabbitmq-server.service")
    try:
        time.sleep(STOPPED_SECONDS)
    finally:
        hosts.run(host, "systemctl", "start", "rabbitmq-server.service")


def cut_off_node(scene: Scene) -> None:
    """It loses sight of the other nodes; its clients still reach it."""
    host = busiest()
    hosts.cut(host, *(other for other in BROKERS if other != host))
    try:
        time.sleep(CUT_SECONDS)
    finally:
        hosts.mend(host)
    await_cluster()


def cut_power_of_node(scene: Scene) -> None:
    """Nobody hears that it goes."""
    host = busiest()
    hosts.power_off(host)
    hosts.power_on(host)
    await_cluster()


def cut_power_of_all_nodes(scene: Scene) -> None:
    hosts.power_off(*BROKERS)
    hosts.power_on(*BROKERS)
    await_cluster()


def new_setting() -> None:
    """One that is read at start, another at each turn."""
    hosts.put({"rabbitmq_channel_max": 1000 + int(time.time()) % 1000})


def change_setting(scene: Scene) -> None:
    """Every node is restarted, one by one."""
    before = [hosts.run(host, "pgrep", "-x", "beam.smp").split() for host in BROKERS]
    new_setting()
    hosts.playbook("playbooks/broker.yml")
    after = [hosts.run(host, "pgrep", "-x", "beam.smp").split() for host in BROKERS]
    if any(set(old) & set(new) for old, new in zip(before, after, strict=True)):
        raise RuntimeError(f"not every node was restarted: {before} became {after}")


def lose_node_in_a_roll(scene: Scene) -> None:
    """The second node loses power after the first was restarted: the third is left alone, until all is well again."""
    first, second, last = BROKERS
    before = {host: hosts.run(host, "pgrep", "-x", "beam.smp").split() for host in (first, last)}

    def pull_the_plug() -> None:
        def is_back() -> object:
            lets_in = hosts.shell(first, "ss -Hltn '( sport = :5671 or sport = :5672 )'")
            return lets_in and not set(hosts.shell(first, "pgrep -x beam.smp || true").split()) & set(before[first])

        await_true("the first node has been restarted", is_back, 300)
        hosts.power_off(second)

    plug = ThreadPoolExecutor(1).submit(pull_the_plug)
    new_setting()
    try:
        hosts.playbook("playbooks/broker.yml")
    except HostError as error:
        said = " ".join(str(error).split())
    else:
        raise RuntimeError("the play went on without the second node")
    finally:
        plug.result()
        hosts.power_on(second)
    if f"rabbit@{second} does not run, so rabbit@{last} was not restarted" not in said:
        raise RuntimeError(f"the play did not say why it stopped: {said[-1500:]}")
    if hosts.run(last, "pgrep", "-x", "beam.smp").split() != before[last]:
        raise RuntimeError("the last node was restarted all the same")
    await_cluster()
    hosts.playbook("playbooks/broker.yml")  # goes on where it stopped
    if hosts.run(last, "pgrep", "-x", "beam.smp").split() == before[last]:
        raise RuntimeError("the next run did not restart the last node")


ALARMS = ("eval", "rabbit_alarm:get_alarms().")


def alarm(limit: tuple[str, ...], back: tuple[str, ...]) -> Callable[[Scene], None]:
    """One node has too little of something, so the cluster lets nobody publish; then it has enough again."""

    def strike(scene: Scene) -> None:
        host = busiest()
        hosts.rabbitmq(host, *limit)
        try:
            await_true("the alarm is raised", lambda: "resource_limit" in hosts.rabbitmq(host, *ALARMS), 60, pause=1)
            time.sleep(ALARM_SECONDS)
        finally:
            hosts.rabbitmq(host, *back)

    return strike


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    title: str
    strike: Callable[[Scene], None]
    prepare: Callable[[Scene], None] | None = None
    capacity: bool = False  # must not drop
    gentle: bool = False  # an operator's doing: nothing runs twice
    control: bool = False  # shows something with Celery's defaults, too
    long: bool = False  # takes minutes


def _rolled(title: str, strike: Callable[[Scene], None], prepare: Callable[[Scene], None] | None = None) -> Fault:
    """What an operator does: it takes minutes, capacity stays, and nothing runs twice."""
    return Fault(title, strike, prepare, capacity=True, gentle=True, long=True)


ONE_BROKER = {
    "kill-main": Fault("kill -9 of a worker's main process", kill_main, control=True),
    "kill-child": Fault("kill -9 of a pool process", kill_child, control=True),
    "memory": Fault("a task outgrows MemoryMax", out_of_memory, control=True),
    "hang": Fault("a main process hangs (SIGSTOP)", hang_main),
    "broker-restart": Fault("broker restarted", restart_broker, control=True),
    "broker-kill": Fault("broker killed (kill -9)", kill_broker, control=True),
    "network": Fault(f"network cut between a worker host and the broker, {CUT_SECONDS} s", cut_network),
    "half-open": Fault(f"broker accepts and never answers, {SILENT_SECONDS} s", silence_broker),
    "power": Fault("worker host loses power and boots", cut_power, control=True),
    "restart": Fault("every worker unit restarted in turn", restart_units, gentle=True),
    "release": Fault("rolling release", release, capacity=True, gentle=True),
    "limit": _rolled("configuration change (site.yml, a new limit)", change_limit),
    "release-long": _rolled(f"release while a task runs for {NEARLY_THE_LIMIT} of its 40 s", release_near_limit),
    "rollback": _rolled("rollback", roll_back, prepare=something_to_go_back_to),
    "release-among-long": _rolled(f"rolling release among tasks of {LONG} s", release_among_long),
}
CERTIFICATES = {"renewal": _rolled("every certificate renewed", renew)}
# The last one: the producer of those before has a password that is not good any more.
ROTATION = {"rotation": _rolled("every password replaced (rotate_secrets.yml)", rotate)}
REPLICAS = {
    "primary": Fault("the primary's host loses power; a replica takes over", lose_primary),
    "isolated": Fault(f"the primary is cut off from all others, {CUT_SECONDS} s", isolate_primary),
}
#: The control runs the same tasks; half of the load asks for STARTED, and some tasks are done with their chord's body.
BACKEND = {
    "backend-restart": Fault("result backend restarted", restart_backend, control=True),
    "backend-kill": Fault("result backend killed (kill -9)", kill_backend, control=True),
    "backend-silent": Fault(
        f"result backend accepts and never answers, {SILENT_SECONDS} s", silence_backend, control=True
    ),
    "backend-full": Fault(f"result backend full (OOM), {FULL_SECONDS} s", fill_backend, control=True),
}
CLUSTER = {
    "node-kill": Fault("one node killed (kill -9)", kill_node),
    "node-stop": Fault(f"one node stopped for {STOPPED_SECONDS} s", stop_node),
    "node-power": Fault("one node loses power and boots", cut_power_of_node),
    "partition": Fault(f"one node cut off from the others, {CUT_SECONDS} s", cut_off_node),
    "nodes-in-turn": Fault("every node killed, one after another", kill_every_node_in_turn),
    "all-power": Fault("all nodes lose power at once and boot", cut_power_of_all_nodes),
    "roll": Fault("every node restarted in turn (playbooks/broker.yml, a new setting)", change_setting, long=True),
    "roll-loss": Fault("a node loses power while the play restarts them", lose_node_in_a_roll, long=True),
    "disk": Fault(
        f"disk alarm of one node, {ALARM_SECONDS} s",
        alarm(("set_disk_free_limit", "100000GB"), ("set_disk_free_limit", "1GB")),
    ),
    "memory": Fault(
        f"memory alarm of one node, {ALARM_SECONDS} s",
        alarm(("set_vm_memory_high_watermark", "absolute", "1MB"), ("set_vm_memory_high_watermark", "0.4")),
    ),
}
FAULTS = {
    ("rabbitmq", False): ONE_BROKER | ROTATION,
    ("rabbitmq", True): CLUSTER | CERTIFICATES | ROTATION,
    # Celery's own worker is compared with RabbitMQ only.
    ("redis", False): {name: replace(fault, control=False) for name, fault in ONE_BROKER.items()},
    ("redis", True): {name: replace(fault, control=False) for name, fault in (ONE_BROKER | REPLICAS).items()},
}[hosts.KIND, len(BROKERS) > 1]
if hosts.BACKENDS:
    FAULTS = BACKEND
