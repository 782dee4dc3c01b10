"""A writer's way to the service: one stream after another, as connections break, and each goes on where the last ended.

A step that is being pushed is still in its caller's hands, so that a break in it is healed here: the new stream's
`opened` says how many of its bytes have arrived, and only the rest is sent. Of steps that were pushed before only the
newest messages are at hand (tail.py); if the service lacks more of them than those, they are lost, which is an error.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, NoReturn

from . import wire
from .backoff import PAUSE_SECONDS_MAX, Backoff, is_transient
from .chunks import ArraySource, PlannedChunk, chunks_from, fill_chunk
from .errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    ShadowkeepError,
    UnavailableError,
)
from .progress import Progress
from .stream import UpdateStream
from .stub import Stub
from .tail import SentMessage
from .takeover import standing


class PushedStep(NamedTuple):
    """A step with all that is needed to send it, from any byte on."""

    commit: wire.Commit
    plan: Sequence[PlannedChunk]
    array_of: ArraySource


class Link:
    """Streams of one writer. A failure that no new stream can heal is raised by every later call.

    Args:
        stub: the connection.
        opening: first message of a stream.
        progress: takes the acknowledgements.
        checksum: crc32c of chunks, or None to send none.
        open_timeout: seconds to wait for the answer to `opening`.
        reconnect_timeout: seconds from a break until its failure is raised.
    """

    def __init__(
        self,
        stub: Stub,
        opening: wire.UpdateOpen,
        progress: Progress,
        checksum: wire.Checksum | None,
        open_timeout: float,
        reconnect_timeout: float,
    ) -> None:
        self._stub = stub
        self._opening = opening
        self._progress = progress
        self._checksum = checksum
        self._open_timeout = open_timeout
        self._reconnect_timeout = reconnect_timeout
        self._stream: UpdateStream | None = None
        self._opened: wire.UpdateOpened | None = None
        self._opened_at = 0.0
        self._reached: tuple[int, int | None, int] | None = None
        self._backoff: Backoff | None = None
        self._failure: ShadowkeepError | None = None
        self._ended = threading.Event()

    def open(self) -> wire.UpdateOpened:
        """Open the first stream, if that has not been done, and return what the service said."""
        self._raise_failure()
        if self._opened is None:
            try:
                self._take_up(self._dial(takeover=False, timeout=self._open_timeout), None)
            except ShadowkeepError as failure:
                if not is_transient(failure):
                    raise
                self._reconnect(failure, None, None)
        assert self._opened is not None
        return self._opened

    def push(self, pushed: PushedStep, *, until_acked: bool = False) -> None:
        """Send a step; `until_acked`: return when it and those before it are acknowledged.

        Else its newest messages are kept until it is acknowledged.
        """
        self.open()
        offset: int | None = 0
        try:
            while True:
                try:
                    if offset is not None:
                        self._send(pushed, offset, kept=not until_acked)
                    if until_acked:
                        self._current().wait_acked(None)
                    return
                except ShadowkeepError as failure:
                    offset = self._reconnect(failure, pushed.commit, None)
        except BaseException:
            if self._failure is None:
                self.cancel(f"step {pushed.commit.step} of run {self._opening.run!r} was broken off")
            raise

    def wait_acked(self, timeout: float | None) -> None:
        """Wait until every pushed step is acknowledged. Raises DeadlineExceededError after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._stream is not None and self._progress.pending:
            self._raise_failure()
            try:
                self._current().wait_acked(_left(until))
            except ShadowkeepError as failure:
                if failure.reason == "WAIT_TIMEOUT":
                    raise
                self._reconnect(failure, None, until)

    def close(self, timeout: float | None) -> None:
        """Wait until every pushed step is acknowledged, then end the stream in order."""
        self._raise_failure()
        self.wait_acked(timeout)
        if self._stream is not None:
            try:
                self._stream.close(timeout)
            except ShadowkeepError as failure:
                if not is_transient(failure):
                    raise

    def cancel(self, why: str) -> None:
        """End the stream at once, and every attempt to open another; from any thread."""
        self._failure = self._failure or UnavailableError(why, reason="CANCELLED")
        self._ended.set()
        if self._stream is not None:
            self._stream.cancel(why)

    def _send(self, pushed: PushedStep, offset: int, *, kept: bool) -> None:
        stream = self._current()
        step = pushed.commit.step
        for chunk in chunks_from(pushed.plan, offset):
            parts = fill_chunk(chunk, pushed.array_of)
            message = wire.chunk_message(step, chunk.offset, parts, chunk.size, self._checksum)
            if kept:
                stream.send_chunk(SentMessage(step, chunk.offset, message))
            else:
                stream.send(message)
        stream.commit(pushed.commit)

    def _dial(self, *, takeover: bool, timeout: float) -> wire.UpdateOpened:
        """Open a stream; the one before has ended."""
        stream = self._stream = UpdateStream(self._stub, replace(self._opening, takeover=takeover), self._progress)
        try:
            self._raise_failure()
            opened = stream.wait_opened(timeout)
        except BaseException:
            stream.cancel("the stream was not opened")
            raise
        self._compare(opened)
        self._opened, self._opened_at = opened, time.monotonic()
        return opened

    def _reconnect(self, failure: ShadowkeepError, current: wire.Commit | None, until: float | None) -> int | None:
        """Open a new stream after `failure`; return from which byte on `current` is to be sent, None: not at all."""
        if time.monotonic() - self._opened_at > PAUSE_SECONDS_MAX:
            self._backoff = None
        while True:
            self._pause(failure, until)
            try:
                return self._take_up(self._dial(takeover=True, timeout=self._patience(until)), current)
            except ShadowkeepError as error:
                if error.reason != "WAIT_TIMEOUT":
                    failure = error

    def _patience(self, until: float | None) -> float:
        """Return for how long a stream may take to open; before the first has, the other writers may not be there."""
        bounds = [self._open_timeout, _left(until)]
        if self._opened is not None and self._backoff is not None:
            bounds.append(self._backoff.left)
        return min(bound for bound in bounds if bound is not None)

    def _pause(self, failure: ShadowkeepError, until: float | None) -> None:
        """Wait before the next attempt; raise `failure` when there is none."""
        self._raise_failure()
        if until is not None and time.monotonic() >= until:
            raise DeadlineExceededError(f"steps are not acknowledged yet: {failure.message}", reason="WAIT_TIMEOUT")
        if not is_transient(failure):
            self._give_up(failure)
        if self._backoff is None:
            self._backoff = Backoff(self._reconnect_timeout)
        if not self._backoff.pause(self._ended, _left(until)):
            self._give_up(failure)

    def _take_up(self, opened: wire.UpdateOpened, current: wire.Commit | None) -> int | None:
        """Go on with what was pushed before on the new stream."""
        progress = self._progress
        reached = (progress.answers, opened.step, opened.received_bytes)
        if reached != self._reached:
            self._reached, self._backoff = reached, None
        with progress.changed:
            if _is_before(opened.committed_step, progress.committed_step):
                self._give_up(
                    UnavailableError(
                        f"the service has gone back from step {progress.committed_step} to {opened.committed_step}: "
                        f"open run {self._opening.run!r} again to go on from there"
                    )
                )
            progress.committed_step, progress.durable_step = opened.committed_step, opened.durable_step
            stands = standing(opened, progress.pending, progress.tail, current)
            if stands.lost is not None:
                self._give_up(
                    UnavailableError(
                        f"step {stands.lost.step} of run {self._opening.run!r} was lost when the connection broke: "
                        f"open the run again to go on after step {opened.committed_step}"
                    )
                )
            progress.pending = deque(stands.pending)
            if current is not None and stands.offset is not None:
                progress.tail.forget(current.step)
        for message in stands.messages:
            self._current().send(message)
        return stands.offset

    def _compare(self, opened: wire.UpdateOpened) -> None:
        """Check that the writer's part is the one that it was."""
        if self._opened is None:
            return
        before, now = [
            (answer.step_bytes, answer.first_step_bytes, answer.left_out) for answer in (self._opened, opened)
        ]
        if before != now:
            self._give_up(
                FailedPreconditionError(
                    f"the writer's part of run {self._opening.run!r} had {before[0]} bytes, it has {now[0]} now",
                    reason="BOXES_CHANGED",
                )
            )

    def _current(self) -> UpdateStream:
        self._raise_failure()
        assert self._stream is not None
        return self._stream

    def _give_up(self, failure: ShadowkeepError) -> NoReturn:
        self._failure = failure
        if self._stream is not None:
            self._stream.cancel(failure.message)
        raise failure.again()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.again()


def _left(until: float | None) -> float | None:
    """Return the seconds until then, at least 0; None: without bound."""
    return None if until is None else max(0.0, until - time.monotonic())


def _is_before(step: int | None, other: int | None) -> bool:
    return other is not None and (step is None or step < other)
