"""Several servers with one model: who gets the next call, and who is left alone for a while.

Each has its own limits. A call goes to the least busy server that is not resting. One that fails rests, twice as long
each time; then it gets a single call, and more once it has replied. One that can take no call at all (a wrong key, no
such model) is left out, as long as another is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from engine.backends.chat import Chat
from engine.backends.rate_limits import Bucket, Gate

REST_S, LONGEST_REST_S = 1.0, 60.0


class Server:
    """One server of an endpoint, with its share of the calls.

    Args:
        chat: how it is spoken to.
        concurrency: calls at once.
        requests_per_minute, tokens_per_minute: 0 for no limit.
    """

    def __init__(self, chat: Chat, concurrency: int, requests_per_minute: int, tokens_per_minute: int) -> None:
        self.chat = chat
        self.slots = asyncio.Semaphore(concurrency)
        self.requests = Bucket(requests_per_minute)
        self.tokens = Bucket(tokens_per_minute)
        self.gate = Gate()
        self.busy = self.replies = 0
        self.left_out = False
        self._failures, self._rests_until = 0, 0.0

    def rests(self, now: float) -> float:
        """Seconds that it is still left alone."""
        return max(0.0, self._rests_until - now)

    @property
    def on_trial(self) -> bool:
        """Whether it failed, and has a call by which it may show that it works again: no reason to give it more."""
        return self._failures > 0 and self.busy > 0

    def rest(self, now: float, seconds: float = 0.0) -> None:
        """It failed, or asked for a pause of so many ``seconds``: leave it alone for a while."""
        self._failures += 1
        longer = min(LONGEST_REST_S, REST_S * 2.0 ** (self._failures - 1))
        self._rests_until = max(self._rests_until, now + (seconds or longer))

    def replied(self) -> None:
        """It works."""
        self.replies += 1
        self._failures, self._rests_until = 0, 0.0


class Servers:
    """The servers of one endpoint, the first being the one that it is named by."""

    def __init__(self, servers: Sequence[Server], clock: Callable[[], float] = time.monotonic) -> None:
        self._all, self._clock = servers, clock

    def __len__(self) -> int:
        return len(self._all)

    def next(self) -> Server:
        """The one for the next call: awake before resting, tried before on trial, then the one with the fewest calls,
        then the first. Where none is well, one that is ill gets all calls: that they fail must be seen soon.
        """
        now = self._clock()
        there = [server for server in self._all if not server.left_out] or list(self._all)
        return min(there, key=lambda server: (server.rests(now), server.on_trial, server.busy, server.replies))

    def rest(self, server: Server, seconds: float = 0.0) -> bool:
        """``server`` failed. Returns whether another one can take the call at once."""
        now = self._clock()
        server.rest(now, seconds)
        return any(not (one.left_out or one.rests(now) or one.on_trial) for one in self._all)

    def leave_out(self, server: Server) -> bool:
        """``server`` can take no call at all. Returns whether that is no matter, because another one is there."""
        if not any(one is not server and not one.left_out for one in self._all):
            return False
        server.left_out = True
        return True

    def shares(self) -> str:
        """Their addresses, with the number of replies by each where there are several."""
        if len(self._all) == 1:
            return self._all[0].chat.url
        return ", ".join(f"{server.chat.url} ({server.replies:,})" for server in self._all)
