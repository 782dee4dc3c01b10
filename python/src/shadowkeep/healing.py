"""A stream that breaks behind its caller: the thread that has read its acknowledgements goes on with what is pending.

Who pushes and does not flush hears of no break, and the other writers of its last step would wait for it. One thread at
a time has the streams in its hands; a caller that comes takes it over at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .errors import ShadowkeepError, UnavailableError

# A caller that waits for the stream has found the break by then, and heals it.
CALLER_SECONDS_MAX = 1.0


class Healing:
    """Decides who heals.

    Attributes:
        hands: held, by its own `with` as in `Progress`, by who pushes, waits or heals.
        is_under_way: whether the thread of a stream that has broken heals.
        is_called_off: whether a caller waits for the streams.
    """

    def __init__(self) -> None:
        self.hands = threading.RLock()
        self.is_under_way = False
        self.is_called_off = False

    @property
    def is_to_end(self) -> bool:
        """Whether the thread that heals is to leave the streams to a caller."""
        return self.is_under_way and self.is_called_off

    def check(self) -> None:
        """Raise UnavailableError where it is to end."""
        if self.is_to_end:
            raise UnavailableError("a call goes on with the steps", reason="CANCELLED")

    def behind_the_caller(self, is_needed: Callable[[], bool], heal: Callable[[], object]) -> None:
        """Heal while that is needed. Never in the main thread: no exception of a signal handler comes in between."""
        while True:
            time.sleep(CALLER_SECONDS_MAX)
            if not is_needed():
                return
            if self.is_called_off or not self.hands.acquire(timeout=CALLER_SECONDS_MAX):
                continue
            try:
                self.is_under_way = True
                if is_needed():
                    heal()
            except ShadowkeepError:
                # The next call raises it, or tries again.
                continue
            finally:
                self.is_under_way = False
                self.hands.release()
