"""When a writer whose stream has broken comes back: after pauses, until its time is over or nobody waits any more."""

from __future__ import annotations

import math
import time
from typing import NamedTuple, Protocol

from . import wire
from .backoff import PAUSE_SECONDS_MAX, Backoff, is_disconnect, seconds_until
from .errors import DeadlineExceededError, ShadowkeepError
from .final_failure import FinalFailure
from .healing import Healing
from .progress import Progress
from .update_stream import STALLED


class SenderOptions(NamedTuple):
    """How a writer's steps are sent.

    Attributes:
        checksum: crc32c of chunks, or None to send none.
        open_timeout: seconds to wait for the answer to a stream's opening.
        reconnect_timeout: seconds from a break until its failure is raised.
        stall_seconds: as in `UpdateStream`.
        is_shared: whether steps have parts of other writers, too.
    """

    checksum: wire.Checksum | None
    open_timeout: float
    reconnect_timeout: float
    stall_seconds: float
    is_shared: bool


class Outages(Protocol):
    """Hears of a service that stays away, and of one that came back without what it had acknowledged."""

    def began(self, failure: ShadowkeepError) -> None:
        """No attempt within the reconnect timeout went on; the step is tried again all the same."""

    def went_back(self, before: int, now: int | None) -> None:
        """The service had committed step `before` and has `now`, as after a crash: what lies between is lost."""


class Reconnection:
    """The time between two streams of a writer.

    Args:
        progress: who waits is woken by its changes.
        options: how long things may take.
        final: the failure that ends all attempts.
        healing: is called off for a caller.

    Attributes:
        outages: who hears of outages, during which pushes go on trying; None: they fail.
    """

    def __init__(self, progress: Progress, options: SenderOptions, final: FinalFailure, healing: Healing) -> None:
        self.outages: Outages | None = None
        self._progress = progress
        self._options = options
        self._final = final
        self._healing = healing
        self._backoff = Backoff(options.reconnect_timeout)
        self._opened_at: float | None = None

    def broken(self, failure: ShadowkeepError) -> None:
        """Note what a stream failed with: after one that has lasted the time begins anew."""
        lasted = math.inf if self._opened_at is None else time.monotonic() - self._opened_at
        # It took so long to break because nothing moved.
        has_stalled = lasted >= self._options.stall_seconds and STALLED in failure.message
        if lasted > PAUSE_SECONDS_MAX and not has_stalled:
            self._backoff.reset()

    def connected(self, *, has_achieved: bool) -> None:
        """Note that a stream is open, and whether something was achieved since the one before was."""
        self._opened_at = time.monotonic()
        if has_achieved:
            self._backoff.reset()

    def answer_seconds(self, end: float | None) -> float:
        """Return for how long a stream may take to open; before the first has, the other writers may not be there."""
        seconds = min(self._options.open_timeout, seconds_until(end))
        return seconds if self._opened_at is None else min(seconds, self._backoff.left_seconds)

    def wait(self, failure: ShadowkeepError, end: float | None, *, is_push: bool) -> None:
        """Wait before the next attempt. Raises when there is none.

        Args:
            failure: of the last one.
            end: when the caller stops waiting, by the monotonic clock.
            is_push: whether a step is being pushed, which alone outlasts outages.
        """
        self._check()
        if seconds_until(end) == 0:
            raise DeadlineExceededError(f"steps are not acknowledged yet: {failure.message}", reason="WAIT_TIMEOUT")
        if not self._can_come_back(failure):
            self._final.give_up(failure)
        pause = self._backoff.next_pause(seconds_until(end))
        if pause is None:
            pause = self._outlast(failure, is_push)
        with self._progress.lock:
            self._progress.changed.wait_for(lambda: self._final.failure or self._healing.is_to_end, pause)
        self._check()

    def _check(self) -> None:
        self._final.check()
        self._healing.check()

    def _can_come_back(self, failure: ShadowkeepError) -> bool:
        # The others are late, too, when they have lost the same service.
        return is_disconnect(failure) or (self.outages is not None and failure.reason == "WRITERS_MISSING")

    def _outlast(self, failure: ShadowkeepError, is_push: bool) -> float:
        """Return the pause after which a service that stays away is tried again."""
        if self.outages is None:
            self._final.give_up(failure)
        if not is_push:
            raise failure.again()
        self.outages.began(failure)
        self._backoff.outlast()
        return PAUSE_SECONDS_MAX
