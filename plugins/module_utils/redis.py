# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from a declaration for Redis: who may do what there, where it is, and how clients behave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

PORT, SENTINEL_PORT = 6379, 26379
#: The name by which Sentinel knows a primary and its replicas.
MASTER = "celery"
#: Seconds between two signs of life on a connection, and how long an answer may take.
HEALTH, ANSWER = 5, 5
#: Seconds until the next Sentinel is asked: one whose host is gone must not cost more.
SENTINEL_SECONDS = 1.0
#: kombu's, written down: a queue is this many lists, and 0 is taken first (in RabbitMQ the largest number is).
PRIORITIES = (0, 3, 6, 9)
#: Seconds between two looks for messages that were not acknowledged in time (kombu's default comes to 100).
RESTORE_INTERVAL = 10

#: Every command that kombu and our runtime give, also from within scripts and locks, and nothing else. (CLIENT SETINFO,
#: which redis-py does without, is none that Redis 7.0 knows, and it starts with no user who may give it.)
BROKER_RULES = (
    *("~*", "&*", "-@all", "+@connection", "-client", "+client|setname", "+@transaction"),
    *("+lpush", "+rpush", "+rpop", "+brpop", "+llen", "+exists", "+del", "+get", "+set", "+pexpire", "+pttl"),
    *("+hset", "+hget", "+hdel", "+zadd", "+zrem", "+zrange", "+zrevrangebyscore", "+zrangebyscore"),
    *("+sadd", "+srem", "+smembers", "+publish", "+subscribe", "+psubscribe", "+unsubscribe", "+punsubscribe"),
    *("+eval", "+evalsha", "+script|load", "+script|exists", "+time", "+blmove", "+wait"),
)
#: Of these what a sender needs: it takes nothing from a queue, and removes nothing.
PRODUCER_RULES = (
    *("~*", "-@all", "+@connection", "-client", "+client|setname", "+@transaction"),
    *("+lpush", "+llen", "+exists", "+pexpire", "+sadd", "+smembers", "+wait"),
)
#: What Celery's result backend needs, and nothing that reconfigures, stops or empties the server.
BACKEND_RULES = (
    *("~*", "&*", "+@read", "+@write", "+@connection", "+@transaction", "+@pubsub", "-@admin", "-@dangerous"),
    *("+time", "+eval", "+evalsha", "+script|load", "+script|exists"),
)


def majority(hosts: int) -> int:
    """How many Sentinels must agree that the primary is gone: more than half, so that never two halves do."""
    return hosts // 2 + 1


def group_problems(group: str, names: Sequence[str], what: str) -> list[str]:
    """Why Sentinel could not decide among these hosts."""
    if len(names) < 2 or (len(names) >= 3 and len(names) % 2):
        return []
    if len(names) == 2:
        why = "where one is gone the other is no majority, so no replica could ever take over"
    else:
        why = "where the network splits them in two, neither half is a majority and no replica takes over"
    return [
        f"the inventory group '{group}' holds {len(names)} hosts of Redis ({', '.join(names)}): {why}; "
        f"put {len(names) + 1} hosts into it, or {len(names) - 1}, for {what}"
    ]


def overlap_problems(broker: Sequence[str], backend: Sequence[str]) -> list[str]:
    """A Redis is in one group of replicas only."""
    shared = [name for name in broker if name in backend]
    if not shared or set(broker) == set(backend):
        return []
    return [
        f"the inventory groups 'broker' ({', '.join(broker)}) and 'backend' ({', '.join(backend)}) have only some "
        f"hosts in common, and the Redis of {shared[0]} cannot have two different sets of replicas; put the same "
        "hosts into both, or none of one into the other"
    ]


def place(addresses: Sequence[str], user: str, database: int) -> dict[str, Any]:
    """Where clients go: to the one Redis, or where there are several, to the Sentinels, which know the primary."""
    scheme, port = ("sentinel", SENTINEL_PORT) if len(addresses) > 1 else ("redis", PORT)
    return {
        "hosts": list(addresses),
        "port": port,
        "url": ";".join(f"{scheme}://{quote(user, safe='')}@{address}:{port}/{database}" for address in addresses),
        "sentinel": MASTER if len(addresses) > 1 else "",
    }


def replicas(hosts: Sequence[Mapping[str, str]], broker: bool) -> dict[str, Any]:
    """What the Redis of each of these hosts must know of the others."""
    needed = majority(len(hosts)) if len(hosts) > 1 else 0
    return {
        "hosts": [{"name": host["name"], "address": host["address"]} for host in hosts],
        "broker": broker,
        "majority": needed,
        # A primary that was cut off from the majority takes no more tasks, which it would forget when it comes back.
        "min_replicas": max(0, needed - 1),
    }


def transport_options(visibility_timeout: int, dead_letter: str, sentinel: str, hosts: int) -> dict[str, Any]:
    """kombu's options for workers and producers alike; all must have the same visibility time-out."""
    options: dict[str, Any] = {
        # What is not acknowledged within this time is handed out again, and who looks for it how often.
        "visibility_timeout": visibility_timeout,
        "unacked_restore_interval": RESTORE_INTERVAL,
        "unacked_restore_throttle": 1,
        # Who looks keeps the others from it. Where Redis fell silent meanwhile, nobody gives that back (kombu: 300).
        "unacked_mutex_expire": RESTORE_INTERVAL,
        "deadletter_queue": dead_letter,
        "priority_steps": list(PRIORITIES),
        "queue_order_strategy": "round_robin",
        "socket_timeout": ANSWER,
        "socket_connect_timeout": ANSWER,
        "socket_keepalive": True,
        "health_check_interval": HEALTH,
        "retry_on_timeout": True,
    }
    # A message is accepted when so many replicas have it, too: one of them takes over.
    return options | ({"master_name": sentinel, "copies": majority(hosts) - 1} if sentinel else {})


def sentinel_kwargs(verified: Mapping[str, Any]) -> dict[str, Any]:
    """redis-py's options for a connection to a Sentinel, but for the login; it is verified as the primary is."""
    times = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}
    return {**times, **({"ssl": True, **verified} if verified else {})}


@dataclass(frozen=True)
class Look:
    """What a Redis says of itself."""

    role: str
    keys: int
    primary: str = ""
    link: str = ""

    def is_right(self, own: str, primary: str) -> bool:
        """Whether it is the primary as it should, or has what the primary has."""
        if own == primary:
            return self.role == "master"
        return (self.role, self.primary, self.link) == ("slave", primary, "up")

    def may_follow(self, own: str, primary: str, was: str) -> bool:
        """Whether to make it a copy: never the primary, and never one that would lose data which no other has."""
        if own == primary or (self.role == "slave" and self.primary == primary):
            return False
        return self.role == "slave" or was == "slave" or self.keys == 0

    def complaint(self, own: str, primary: str, seconds: float) -> str:
        """Why it is not right after so long."""
        if own == primary:
            return f"Sentinel takes it for the primary, and after {seconds:g} s it is still a copy of {self.primary}."
        if self.role == "slave":
            return f"It is a copy of {self.primary}, but has not got all that {primary} has after {seconds:g} s."
        return (
            f"It holds {self.keys} keys of its own, which it would lose as a copy of {primary}: if they are not needed "
            "any more, stop redis-server, empty /var/lib/redis, and run this again."
        )


def read_info(text: str) -> Look:
    """From the answer to INFO."""
    said = dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)
    counts = [value for name, value in said.items() if name.startswith("db") and value.startswith("keys=")]
    keys = sum(int(value.split(",")[0].removeprefix("keys=")) for value in counts)
    return Look(said.get("role", ""), keys, said.get("master_host", ""), said.get("master_link_status", ""))


def sentinels_answer(text: str) -> dict[str, Any] | None:
    """Address and epoch of the primary, from the answer to SENTINEL MASTER; nothing where it says none."""
    lines = [line.strip() for line in text.splitlines()]
    said = dict(zip(lines[::2], lines[1::2], strict=False))
    if not said.get("ip"):
        return None
    return {"address": said["ip"], "epoch": int(said.get("config-epoch", 0))}


class Undecided(ValueError):
    """Nobody can say which host is the primary; the text is the sentence for the user."""


def primary(found: Mapping[str, Mapping[str, Any]], hosts: Iterable[Mapping[str, str]]) -> str:
    """The address of the primary: as the Sentinels say, or where there are none yet, the host that holds data.

    Args:
        found: what M(celeryops.stack.redis_replica) saw on each host of the play, by the host's name.
        hosts: name and address of every host of the group, in the inventory's order.
    """
    said = [look["primary"] for look in found.values() if look.get("primary")]
    if said:
        return str(max(said, key=lambda primary: int(primary["epoch"]))["address"])
    unseen = [host["name"] for host in hosts if host["name"] not in found]
    if unseen:
        raise Undecided(
            f"No Sentinel says which Redis is the primary, and {', '.join(unseen)} is not part of this run, so it "
            "cannot be found out: start redis-sentinel on the hosts, or run without --limit."
        )
    primaries = [name for name, look in found.items() if look.get("keys") and look.get("role") != "slave"]
    if len(primaries) > 1:
        raise Undecided(
            f"No Sentinel says which Redis is the primary, and {', '.join(primaries)} each hold data of their own, of "
            "which all but one would be lost: take the others out of the inventory's group, let their tasks be done, "
            "and empty them."
        )
    first = [host for host in hosts if not primaries or host["name"] in primaries]
    return first[0]["address"]
