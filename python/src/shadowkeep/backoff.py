"""When a broken connection is tried again: after pauses that grow and are jittered, until a deadline.

The n-th pause is drawn evenly from 0 to min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2^n), so that a thousand writers
that lost the same service do not come back at the same moment.
"""

from __future__ import annotations

import random
import threading
import time

from .errors import ShadowkeepError

PAUSE_SECONDS_FIRST = 0.1
PAUSE_SECONDS_MAX = 5.0

# What the transport says of a connection that broke; both codes also come of bugs, then with a reason or another text.
_BROKEN_CODES = frozenset({"INTERNAL", "UNKNOWN"})
_BROKEN_TEXTS = ("RST_STREAM", "Stream removed", "Connection reset")


def is_transient(failure: ShadowkeepError) -> bool:
    """Whether a new connection can help: the service is away, or the transport broke."""
    if failure.code in ("UNAVAILABLE", "CANCELLED"):
        return True
    by_transport = failure.code in _BROKEN_CODES and failure.reason == failure.code
    return by_transport and any(text in failure.message for text in _BROKEN_TEXTS)


class Backoff:
    """The pauses of one series of attempts, which may take `timeout` seconds from now on."""

    def __init__(self, timeout: float) -> None:
        self._deadline = time.monotonic() + timeout
        self._pauses = 0

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self._deadline - time.monotonic())

    def pause(self, woken: threading.Event | None = None, seconds_max: float | None = None) -> bool:
        """Wait before the next attempt, at most `seconds_max` and not after `woken`; False when the time is over."""
        left = self.left
        if left == 0:
            return False
        longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2.0 ** min(self._pauses, 10))
        self._pauses += 1
        seconds = min(random.uniform(0, longest), left, left if seconds_max is None else seconds_max)
        (woken or threading.Event()).wait(seconds)
        return True
