# SPDX-License-Identifier: GPL-3.0-or-later
"""kombu's Redis transport without the gaps in which a task can be lost, and without hours until a dead worker's run.

* kombu takes a message off its list, and notes in a second step that it is being worked on: who dies between the two,
  or whose network does, loses it. Here a script does both at once; while there is nothing, waiting takes nothing away.
* A message that was not acknowledged within the visibility time-out is handed out again. kombu never prolongs that, so
  it has to be longer than the longest wait and run, and the tasks of a worker that died wait as long. Here a worker
  says every few seconds what it still has, so the time-out is only as long as a living worker may be silent.
* With replicas, Redis says that it has a message before any replica has it. Here the sender waits for the replicas, and
  is told that the message was not accepted when they do not answer.

Everything else is kombu's, its lists and keys too: other clients of the same broker need nothing of this.
"""

from collections.abc import Callable
from functools import partial
from queue import Empty
from time import monotonic, time
from typing import Any

from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.exceptions import ConnectionError as NoConnection

from celeryops_runtime import primary
from celeryops_runtime.guard import harmless

#: Takes one message from the first of the lists that has one, and notes it as kombu does.
TAKE = """
for number = 3, #KEYS do
  local item = redis.call('RPOP', KEYS[number])
  if item then
    local noted, message = pcall(cjson.decode, item)
    if noted then
      local properties = message['properties']
      local info = properties['delivery_info']
      local place = cjson.encode(info['exchange']) .. ',' .. cjson.encode(info['routing_key'])
      redis.call('HSET', KEYS[1], properties['delivery_tag'], '[' .. item .. ',' .. place .. ']')
      redis.call('ZADD', KEYS[2], ARGV[1], properties['delivery_tag'])
    end
    return {KEYS[number], item, noted and 1 or 0}
  end
end
return false
"""
#: Transport options of ours: replicas that must have a message, and seconds that they may take.
COPIES, COPY_SECONDS = "copies", 3
#: Signs of life in one visibility time-out.
RATE = 6


class QoS(redis.QoS):
    """What is being worked on; the script has noted most of it already."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """One message more."""
        if self.channel.noted:
            super(redis.QoS, self).append(message, delivery_tag)
        else:
            super().append(message, delivery_tag)


class Channel(redis.Channel):
    """For one Redis."""

    QoS = QoS
    noted = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unnoted: set[str] = set()
        self._command = ""
        self._waits = 0
        super().__init__(*args, **kwargs)

    def _in_use(self) -> Any:
        """The connection; Celery gives up one that was lost, and its worker still has tasks that came by it."""
        if self.connection is None or self.connection.client is None:
            raise NoConnection("this connection was given up")
        return self.connection.client

    def _connparams(self, asynchronous: bool = False) -> Any:
        self._in_use()
        return super()._connparams(asynchronous)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Remember whose messages are not acknowledged, such as replies: they are taken as kombu does."""
        if no_ack:
            self._unnoted.add(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        if self.global_keyprefix or self._unnoted.intersection(queues):
            self._command = "BRPOP"
            super()._brpop_start(timeout)
            return
        self._in_poll, self._brpop_sent_at = self.client.connection, monotonic()
        # Without a check of its health, which may connect anew: the event loop would not know that socket and send a
        # second command, and each answer would be read as that of another. A connection that is silent kombu drops.
        send = partial(self.client.connection.send_command, check_health=False)
        if self._command == "EVAL":  # there was nothing; this ends when there is something, and leaves it where it is
            self._command, self._waits = "BLMOVE", self._waits + 1
            awaited = queues[self._waits % len(queues)]
            send("BLMOVE", awaited, awaited, "RIGHT", "RIGHT", timeout or self.brpop_timeout)
        else:
            self._command = "EVAL"
            lists = [self._q_for_pri(queue, priority) for priority in self.priority_steps for queue in queues]
            send("EVAL", TAKE, 2 + len(lists), self.unacked_key, self.unacked_index_key, *lists, time())

    def _brpop_read(self, **options: Any) -> bool:
        if self._command == "BRPOP":
            return bool(super()._brpop_read(**options))
        try:
            try:
                answer = self.client.parse_response(self.client.connection, self._command, **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if self._command == "BLMOVE" or not answer:
                raise Empty
            self._command = ""  # where there was one there may be more
            queue = bytes_to_str(answer[0]).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self.noted = bool(answer[2])
            self.connection._deliver(loads(bytes_to_str(answer[1])), queue)
            return True
        finally:
            self.noted = False
            self._in_poll = None
            self._flush_brpop_reauth()

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        copies = self._in_use().transport_options.get(COPIES)
        if not copies or options.get("_publish_batch") is not None:
            super()._put(queue, message, **options)
            return
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        with self.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            pipe.lpush(key, dumps(message))
            pipe.execute_command("WAIT", copies, COPY_SECONDS * 1000)
            _added, had = pipe.execute()
        if had < copies:
            raise NoConnection(f"{had} replicas have the message after {COPY_SECONDS} s, {copies} must")


class SentinelChannel(Channel, redis.SentinelChannel):
    """For a primary that Sentinel knows."""

    connection_class = primary.Connection
    connection_class_ssl = primary.SSLConnection

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        pool = super()._sentinel_managed_pool(asynchronous)
        primary.ask_once(pool.sentinel_manager)
        return pool


class Transport(redis.Transport):
    """For one Redis."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """For a primary that Sentinel knows."""

    Channel = SentinelChannel


def still_held(channel: Any) -> Callable[[], None]:
    """What says to Redis that the messages of this channel are being worked on."""

    @harmless
    def renew() -> None:
        if (
            channel.closed
        ):  # by a lost connection: nobody works on them any more, though they may not have been given back
            return
        if tags := [tag for tag in list(channel.qos._delivered) if tag not in channel.qos._dirty]:
            with channel.conn_or_acquire() as client:
                client.zadd(channel.unacked_index_key, dict.fromkeys(tags, time()), xx=True)

    return renew
