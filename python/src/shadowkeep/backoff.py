"""When a broken connection is tried again: after pauses that grow and are jittered, until a deadline.

The n-th pause is drawn evenly from 0 to min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2^n), so that a thousand writers
that lost the same service do not come back at the same moment.
"""

from __future__ import annotations

import math
import random
import time

from .errors import ShadowkeepError

PAUSE_SECONDS_FIRST = 0.1
PAUSE_SECONDS_MAX = 5.0

# What the transport says of a connection that broke; both codes also come of bugs, then with a reason or another text.
_BROKEN_CODES = frozenset({"INTERNAL", "UNKNOWN"})
_BROKEN_TEXTS = ("RST_STREAM", "Stream removed", "Connection reset")
# What it says when there was no connection that could have carried the request.
_UNSENT_TEXTS = ("failed to connect", "Failed to connect", "DNS resolution failed")
# A name that no server of names knows. While a service is started again that can be so for a moment, too.
_UNKNOWN_HOST_TEXTS = ("Domain name not found", "Name or service not known", "nodename nor servname")

# What the service ends a connection or a stream with that may go on when there is room for it.
_MADE_ROOM = frozenset({"TRANSPORT_EXHAUSTED", "TOO_MANY_CONNECTIONS"})


def is_disconnect(failure: ShadowkeepError) -> bool:
    """Whether the connection broke or was ended to make room, so that another one can go on where it was.

    The cases are test/common/reconnect.json, which the Node.js client runs, too.
    """
    if failure.code == "UNAVAILABLE" or failure.reason in _MADE_ROOM:
        return True
    # A reason of its own is the service's word.
    if failure.reason != failure.code:
        return False
    is_reset = any(text in failure.message for text in _BROKEN_TEXTS)
    return failure.code == "CANCELLED" or (failure.code in _BROKEN_CODES and is_reset)


def was_not_sent(failure: ShadowkeepError) -> bool:
    """Whether the request never left this process."""
    return failure.code == failure.reason == "UNAVAILABLE" and any(text in failure.message for text in _UNSENT_TEXTS)


def is_unknown_host(failure: ShadowkeepError) -> bool:
    """Whether the target's host does not exist, which before the first connection is a wrong name."""
    return was_not_sent(failure) and any(text in failure.message for text in _UNKNOWN_HOST_TEXTS)


class Backoff:
    """The pauses between attempts, which may take `timeout` seconds until something is achieved."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.reset()

    def reset(self) -> None:
        """Something was achieved: the next outage begins anew."""
        self._pauses = 0
        # From the first pause on.
        self._deadline: float | None = None

    def outlast(self) -> None:
        """Go on without a deadline, until something is achieved."""
        self._pauses = 0
        self._deadline = math.inf

    @property
    def left_seconds(self) -> float:
        """What is left of the time, at least 0."""
        if self._deadline is None:
            return self._timeout
        return max(0.0, self._deadline - time.monotonic())

    def next_pause(self, seconds_max: float = math.inf) -> float | None:
        """Return the seconds to wait before the next attempt, at most `seconds_max`; None when the time is over."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._timeout
        left = self.left_seconds
        if left == 0:
            return None
        longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2.0 ** min(self._pauses, 10))
        self._pauses += 1
        return min(random.uniform(0, longest), left, seconds_max)


def seconds_until(end: float | None) -> float:
    """Return the seconds until a moment of the monotonic clock, at least 0; None never comes."""
    return math.inf if end is None else max(0.0, end - time.monotonic())
