# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of data that is in use, and when a restore would harm."""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeryops.stack.plugins.module_utils import rabbitmq_backup, snapshots

#: An empty base file as Redis 7.0 writes it: remarks (texts, and numbers of one and four bytes), the end, a sum.
EMPTY = (
    b"REDIS0010\xfa\tredis-ver\x067.0.15\xfa\nredis-bits\xc0@\xfa\x05ctime\xc2\x01\x02\x03\x04"
    b"\xfa\x08used-mem\xc2\x00\x00\x00\x00\xfa\x08aof-base\xc0\x01\xff12345678"
)
FULL = EMPTY.replace(b"\xff12345678", b"\xfe\x00\xfb\x01\x00\x00\x03key\x05value\xff12345678")
LONG = EMPTY.replace(b"\x067.0.15", b"\x40\x437" + b"x" * 66)
MANIFEST = "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"


@pytest.fixture
def redis(tmp_path: Path) -> Path:
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / snapshots.MANIFEST).write_text(MANIFEST)
    (folder / "appendonly.aof.1.base.rdb").write_bytes(EMPTY)
    (folder / "appendonly.aof.1.incr.aof").write_bytes(b"")
    return folder


def packed(target: Path) -> dict[str, bytes]:
    with tarfile.open(target) as archive:
        return {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]


class TestRedis:
    def test_a_new_one_holds_nothing(self, redis: Path) -> None:
        assert snapshots.redis_holds(redis) == ""
        (redis / "appendonly.aof.1.base.rdb").write_bytes(LONG)
        assert snapshots.redis_holds(redis) == ""
        assert snapshots.redis_holds(redis.parent / "nowhere") == ""

    def test_what_it_holds_is_seen(self, redis: Path) -> None:
        (redis / "appendonly.aof.1.incr.aof").write_bytes(b"*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n")
        assert "23 bytes in" in snapshots.redis_holds(redis)
        (redis / "appendonly.aof.1.base.rdb").write_bytes(FULL)
        assert snapshots.redis_holds(redis).startswith("data in")

    def test_what_is_listed_is_packed(self, redis: Path, tmp_path: Path) -> None:
        (redis / "appendonly.aof.0.incr.aof").write_bytes(b"of a rewrite before")
        snapshots.pack_redis(redis, tmp_path / "copy.tar.gz")
        assert packed(tmp_path / "copy.tar.gz") == {
            snapshots.MANIFEST: MANIFEST.encode(),
            "appendonly.aof.1.base.rdb": EMPTY,
            "appendonly.aof.1.incr.aof": b"",
        }

    def test_a_rewrite_meanwhile_begins_it_again(
        self, redis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add, times = tarfile.TarFile.add, []

        def rewriting(archive: tarfile.TarFile, name: Any, *rest: Any, **more: Any) -> None:
            add(archive, name, *rest, **more)
            times.append(name)
            if len(times) == 2:  # the base is packed, and is another one before the rest is
                (redis / "appendonly.aof.2.base.rdb").write_bytes(FULL)
                (redis / "appendonly.aof.1.base.rdb").unlink()
                (redis / snapshots.MANIFEST).write_text(MANIFEST.replace("1.base", "2.base"))

        monkeypatch.setattr(tarfile.TarFile, "add", rewriting)
        snapshots.pack_redis(redis, tmp_path / "copy.tar.gz")
        assert packed(tmp_path / "copy.tar.gz")["appendonly.aof.2.base.rdb"] == FULL

    def test_one_that_writes_nothing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(snapshots.Unusable, match="writes no append-only file"):
            snapshots.pack_redis(tmp_path, tmp_path / "copy.tar.gz")


class TestDatabases:
    @pytest.fixture
    def database(self, tmp_path: Path) -> Path:
        with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as connection:
            connection.execute("CREATE TABLE events_event (id)")
            connection.commit()
        return tmp_path / "db.sqlite3"

    def test_rows_are_what_it_holds(self, database: Path) -> None:
        assert snapshots.sqlite_holds(database, ["events_event", "nowhere"]) == ""
        assert snapshots.sqlite_holds(database.parent / "nowhere", ["events_event"]) == ""
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("INSERT INTO events_event VALUES (1)")
            connection.commit()
        assert snapshots.sqlite_holds(database, ["events_event"]).startswith("1 rows in events_event")

    def test_a_copy_has_what_was_committed(self, database: Path) -> None:
        with closing(sqlite3.connect(database)) as writer:
            writer.execute("PRAGMA journal_mode=WAL")
            writer.execute("INSERT INTO events_event VALUES (1)")
            writer.commit()
            writer.execute("INSERT INTO events_event VALUES (2)")  # not yet
            snapshots.copy_sqlite(database, database.parent / "copy")
        with closing(sqlite3.connect(database.parent / "copy")) as copy:
            assert copy.execute("SELECT id FROM events_event").fetchall() == [(1,)]
        with pytest.raises(snapshots.Unusable, match="is not there"):
            snapshots.copy_sqlite(database.parent / "nowhere", database.parent / "copy")


DECLARED = rabbitmq_backup.declaration(
    "celery",
    ["admin", "celery"],
    {
        "queues": [{"vhost": "celery", "name": "default"}],
        "exchanges": [{"vhost": "celery", "name": "celery.tasks", "type": "topic"}],
        "bindings": [{"vhost": "celery", "source": "celery.tasks", "destination": "default", "routing_key": "default"}],
    },
)
AS_DECLARED: dict[str, Any] = {
    "users": [{"name": "admin", "password_hash": "x"}, {"name": "celery", "password_hash": "y"}],
    "vhosts": [{"name": "/"}, {"name": "celery", "metadata": {}}],
    "permissions": [{"user": "admin", "vhost": "celery", "configure": ".*", "write": ".*", "read": ".*"}],
    "queues": [{"vhost": "celery", "name": "default", "durable": True, "arguments": {"x-queue-type": "quorum"}}],
    "exchanges": [
        {"vhost": "celery", "name": "celery.tasks", "type": "topic"},
        {"vhost": "celery", "name": "celeryev", "type": "topic"},
        {"vhost": "celery", "name": "reply.celery.pidbox", "type": "direct"},
    ],
    "bindings": [{**DECLARED["bindings"][0], "destination_type": "queue", "arguments": {}}],
    "global_parameters": [{"name": "cluster_name", "value": "rabbit@a"}],
}
MORE: dict[str, Any] = {
    **AS_DECLARED,
    "users": [*AS_DECLARED["users"], {"name": "reports", "password_hash": "z", "tags": []}],
    "queues": [*AS_DECLARED["queues"], {"vhost": "celery", "name": "reports", "arguments": {}}],
    "parameters": [{"component": "shovel", "name": "to-b", "vhost": "celery", "value": {}}],
}


class TestDefinitions:
    def test_what_is_declared_is_not_restored(self) -> None:
        """A backup would bring back passwords and limits of days gone by."""
        assert rabbitmq_backup.beyond(AS_DECLARED, DECLARED) == {"vhosts": [{"name": "/"}]}

    def test_everything_else_is(self) -> None:
        wanted = rabbitmq_backup.beyond(MORE, DECLARED)
        assert [user["name"] for user in wanted["users"]] == ["reports"]
        assert [queue["name"] for queue in wanted["queues"]] == ["reports"]
        assert wanted["parameters"] == MORE["parameters"]
        assert list(wanted).index("vhosts") < list(wanted).index("users") < list(wanted).index("queues")
        assert "global_parameters" not in wanted, "the cluster's name is the new one's"
        assert set(rabbitmq_backup.lacking(AS_DECLARED, wanted)) == {"user reports", "queue reports", "parameter to-b"}
        assert rabbitmq_backup.lacking(MORE, wanted) == []

    @pytest.mark.parametrize(
        ("kind", "item"),
        [
            ("bindings", {"source": "celeryev", "destination": "celeryev.5f1c", "routing_key": "#"}),
            ("bindings", {"source": "reply.celery.pidbox", "destination": "9d.reply.celery.pidbox"}),
            ("bindings", {"source": "celery.tasks", "destination": "amq.gen-x1"}),
            ("bindings", {"source": "nowhere", "destination": "default"}),
            ("bindings", {"source": "celery.tasks", "destination": "default", "destination_type": "exchange"}),
            ("bindings", {"source": "celery.tasks", "destination": "default", "vhost": "gone"}),
            ("permissions", {"user": "gone", "configure": "", "write": "", "read": ""}),
            ("topic_permissions", {"user": "gone", "exchange": "amq.topic", "write": "", "read": ""}),
            ("policies", {"name": "old", "vhost": "gone", "pattern": "", "definition": {}}),
            ("queues", {"name": "old", "vhost": "gone", "arguments": {}}),
            ("parameters", {"component": "shovel", "name": "old", "vhost": "gone", "value": {}}),
        ],
    )
    def test_what_names_an_object_that_is_not_saved_is_left_out(self, kind: str, item: dict[str, Any]) -> None:
        """RabbitMQ would end the import there; queues of a connection are in no export, their bindings are."""
        with_it = {**MORE, kind: [*MORE.get(kind, []), {"vhost": "celery", **item}]}
        assert rabbitmq_backup.beyond(with_it, DECLARED) == rabbitmq_backup.beyond(MORE, DECLARED)
        assert rabbitmq_backup.consistent_definitions(with_it) == {**MORE, kind: MORE.get(kind, [])}

    @pytest.mark.parametrize(
        ("kind", "item"),
        [
            ("bindings", {"source": "celery.tasks", "destination": "reports", "routing_key": "r"}),  # one is declared
            ("bindings", {"source": "amq.topic", "destination": "default", "routing_key": "d"}),  # every node has it
            ("bindings", {"source": "amq.fanout", "destination": "celery.tasks", "destination_type": "exchange"}),
            ("permissions", {"user": "reports", "configure": "", "write": "", "read": "^r"}),
            ("permissions", {"user": "celery", "vhost": "/", "configure": "", "write": "", "read": ""}),
            ("topic_permissions", {"user": "celery", "exchange": "amq.topic", "write": "", "read": ""}),
        ],
    )
    def test_what_names_saved_or_declared_objects_is_restored(self, kind: str, item: dict[str, Any]) -> None:
        whole = {"vhost": "celery", **item}
        with_it = {**MORE, kind: [*MORE.get(kind, []), whole]}
        assert whole in rabbitmq_backup.beyond(with_it, DECLARED)[kind]
        assert whole in rabbitmq_backup.consistent_definitions(with_it)[kind]

    def test_a_queue_bound_to_an_exchange_of_the_workers_stays_bound(self) -> None:
        binding = {"vhost": "celery", "source": "celeryev", "destination": "reports", "routing_key": "task.#"}
        wanted = rabbitmq_backup.beyond({**MORE, "bindings": [*MORE["bindings"], binding]}, DECLARED)
        assert wanted["bindings"] == [binding]
        assert [exchange["name"] for exchange in wanted["exchanges"]] == ["celeryev"]

    def test_users_of_former_generations_do_not_come_back(self) -> None:
        """Their passwords were replaced, perhaps because they leaked."""
        rotated = rabbitmq_backup.declaration("celery", ["admin", "celery-2"], {}, former=["celery"])
        wanted = rabbitmq_backup.beyond(MORE, rotated)
        assert [user["name"] for user in wanted["users"]] == ["reports"]
        elsewhere = {"user": "celery", "vhost": "/", "configure": "", "write": "", "read": ""}
        with_it = {**MORE, "permissions": [*MORE["permissions"], elsewhere]}
        assert "permissions" not in rabbitmq_backup.beyond(with_it, rotated)

    def test_a_copy_keeps_everything_else(self) -> None:
        assert rabbitmq_backup.consistent_definitions(MORE) == {**MORE}

    def test_a_broker_in_use_is_in_the_way(self) -> None:
        assert rabbitmq_backup.in_the_way(AS_DECLARED, DECLARED, [("default", 0)]) is None
        said = rabbitmq_backup.in_the_way(AS_DECLARED, DECLARED, [("default", 7), ("celery.dead", 0)])
        assert said is not None
        assert "7 messages in default;" not in said
        assert "with 7 messages in default, and" in said
        said = rabbitmq_backup.in_the_way(MORE, DECLARED, [])
        assert said is not None
        assert "users that are not declared: reports; " in said
        assert "-e restore_over=true" in said
