# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery's result backends on Redis: no command of a task's outcome is given up while Redis is away.

``outcomes`` can repeat what stores an outcome as a whole. For a chord that is too much: Celery counts its parts on
Redis, claims the right to send its body, reads all results, and takes an error in between for the chord's failure. So
here each command is repeated by itself, and what Celery does with the answers goes on where it was. Outside of that,
and in producers, the commands are redis-py's own.

And a primary that Sentinels know is found again as the broker's is.
"""

import sys
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from celery.backends import redis
from kombu.utils.encoding import bytes_to_str
from redis import StrictRedis, client
from redis.exceptions import NoScriptError

from celeryops_runtime import outcomes, primary

#: What redis-py answers itself, by loading the script.
_PLAIN = (NoScriptError,)


class Pipeline(client.Pipeline):
    """Several commands at once."""

    def execute(self, raise_on_error: bool = True) -> Any:
        """Do them; an attempt that fails forgets them.

        While a run goes back nothing is: before 5.7 Celery forgets a chord also where its body was not sent.
        """
        commands = list(self.command_stack)
        if isinstance(sys.exc_info()[1], outcomes.GoBack):
            self.reset()
            return []

        def attempt() -> Any:
            self.command_stack = list(commands)
            return super(Pipeline, self).execute(raise_on_error)

        return outcomes.insist(attempt, _PLAIN)


class Client(StrictRedis):
    """One command after another."""

    def execute_command(self, *words: Any, **options: Any) -> Any:
        """Do it."""
        return outcomes.insist(partial(super().execute_command, *words, **options), _PLAIN)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Several commands at once."""
        return Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def _until_it_is_sent(count: Callable[..., Any]) -> Callable[..., Any]:
    """Count a part of a chord, and claim its body's sending if it is the last: the claim may be there already.

    It is this run's own where Redis did as it was told but its answer was lost. It is that of a run that died, or could
    not send the body, where a part is done again: that one must be waited for, or nobody sends it.
    """

    def counted(keys: Any, args: Any, client: Any) -> Any:
        while True:
            ready, difference, size, claimed = count(keys=keys, args=args, client=client)
            if claimed or not size or ready != int(size) + int(difference or 0):
                return ready, difference, size, claimed
            if bytes_to_str(client.get(keys[-1])) == args[-1]:
                return ready, difference, size, 1
            if not outcomes.may_wait():
                return ready, difference, size, claimed
            time.sleep(outcomes.PAUSE)

    return counted


def _unless_it_goes_back(clean: Callable[..., Any]) -> Callable[..., Any]:
    """Forget a chord whose body was sent; Celery does so too where the run ends before."""

    def cleaned(keys: Any, args: Any, client: Any) -> Any:
        if isinstance(sys.exc_info()[1], outcomes.GoBack):
            return client.delete(keys[0])  # the claim alone: whoever does the part again sends the body
        return clean(keys=keys, args=args, client=client)

    return cleaned


class RedisBackend(redis.RedisBackend):
    """Results on one Redis."""

    def _get_client(self) -> Any:
        return Client

    @cached_property
    def _chord_part_return_script(self) -> Any:
        return _until_it_is_sent(self.client.register_script(redis.CHORD_PART_RETURN_LUA))

    @cached_property
    def _chord_cleanup_script(self) -> Any:
        return _unless_it_goes_back(self.client.register_script(redis.CHORD_CLEANUP_LUA))


class SentinelBackend(RedisBackend, redis.SentinelBackend):
    """Results on a primary that Sentinels know: asks for it at every attempt, and each Sentinel once."""

    connection_class_ssl = primary.SSLConnection

    def _get_sentinel_instance(self, **params: Any) -> Any:
        return primary.ask_once(super()._get_sentinel_instance(**{"connection_class": primary.Connection, **params}))
