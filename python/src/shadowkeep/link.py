"""A writer's way to the service: one stream after another, as connections break, and each goes on where the last ended.

A step that is being pushed is still in its caller's hands, so that a break in it is healed here: the new stream's
`opened` says how many of its bytes have arrived, and only the rest is sent. Of steps that were pushed before only the
newest messages are at hand (tail.py); if the service lacks more of them than those, they are lost, which is an error.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from typing import NoReturn

from . import ending, wire
from .apart import apart
from .backoff import PAUSE_SECONDS_MAX, Backoff, is_transient
from .chunks import chunks_from, fill_chunk
from .connection import Connection
from .errors import DeadlineExceededError, FailedPreconditionError, ShadowkeepError, UnavailableError
from .healing import Healing
from .progress import Progress
from .pushed import Outages, PushedStep, steps_text
from .stream import STALL_SECONDS_MAX, STALLED, UpdateStream
from .tail import SentMessage
from .takeover import standing

# At the end of a process the service is told so, but not waited for.
CLOSE_SECONDS_MAX = 1.0

# Before the other processes' parts of a step are missed: what the slowest takes to send and the service to fold.
PEERS_SECONDS_MIN = 10.0


class Link:
    """Streams of one writer. A failure that no new stream can heal is raised by every later call.

    Args:
        connection: for the streams.
        opening: first message of a stream.
        progress: takes the acknowledgements.
        checksum: crc32c of chunks, or None to send none.
        open_timeout: seconds to wait for the answer to `opening`.
        reconnect_timeout: seconds from a break until its failure is raised.
        stall_seconds: as in `UpdateStream`.
        shared: whether steps have parts of other writers, too.

    Attributes:
        run: the run's name.
        outages: who hears of outages, during which pushes go on trying; None: they fail.
    """

    def __init__(
        self,
        connection: Connection,
        opening: wire.UpdateOpen,
        progress: Progress,
        checksum: wire.Checksum | None,
        open_timeout: float,
        reconnect_timeout: float,
        stall_seconds: float = STALL_SECONDS_MAX,
        shared: bool = False,
    ) -> None:
        self.run = opening.run
        self.outages: Outages | None = None
        self._pid = os.getpid()
        self._connection = connection
        self._opening = opening
        self._progress = progress
        self._checksum = checksum
        self._open_timeout = open_timeout
        self._reconnect_timeout = reconnect_timeout
        self._stall_seconds = stall_seconds
        self._shared = shared
        self._stream: UpdateStream | None = None
        self._opened: wire.UpdateOpened | None = None
        self._opened_at = 0.0
        self._reached: tuple[int, int | None, int] | None = None
        self._backoff: Backoff | None = None
        self._failure: ShadowkeepError | None = None
        self._lost_through: int | None = None
        self._healing = Healing()

    def open(self) -> wire.UpdateOpened:
        """Open the first stream, if that has not been done, and return what the service said."""
        self._raise_failure()
        if self._opened is None:
            ending.watch(self)
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

        Else its newest messages are kept until it is acknowledged. Where somebody hears of outages it does not return
        before the service is back.
        """
        self.open()
        offset: int | None = 0
        try:
            self._call_off_healing()
            with self._healing.hands:
                self._healing.is_called_off = False
                while True:
                    try:
                        if offset is not None:
                            self._send(pushed, offset, kept=not until_acked)
                        if until_acked:
                            self._wait_answer(pushed.commit.step)
                        return
                    except ShadowkeepError as failure:
                        offset = self._reconnect(failure, pushed.commit, None)
        except BaseException:
            if self._failure is None:
                self.cancel(f"step {pushed.commit.step} of run {self.run!r} was broken off")
            raise

    def lose(self, through: int) -> None:
        """Tell the service, with the next step, that those up to this one which were not pushed will not be."""
        with self._progress.lock:
            self._lost_through = max(through, self._lost_through or 0)

    def wait_acked(self, timeout: float | None) -> None:
        """Wait until every pushed step is acknowledged. Raises DeadlineExceededError after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        self._call_off_healing()
        with self._healing.hands:
            self._healing.is_called_off = False
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
        ending.forget(self)

    def cancel(self, why: str) -> None:
        """End the stream at once, and every attempt to open another; from any thread."""
        if not self.is_own:
            return
        self._failure = self._failure or UnavailableError(why, reason="CANCELLED")
        ending.forget(self)
        with self._progress.lock:
            self._progress.changed.notify_all()
        if self._stream is not None:
            self._stream.cancel(why)

    @property
    def is_own(self) -> bool:
        """Whether this process opened it, and not one that it was forked from."""
        return self._pid == os.getpid()

    def finish(self, seconds: float) -> str | None:
        """Wait until every pushed step is acknowledged; return which ones are not, None: there are none."""
        failure: ShadowkeepError | None = None
        try:
            self.wait_acked(seconds)
            self.close(CLOSE_SECONDS_MAX)
        except ShadowkeepError as error:
            failure = error
        with self._progress.lock:
            steps = [commit.step for commit in self._progress.pending]
        if not steps:
            return None
        return f"{steps_text(steps)} of run {self.run!r} may be lost: {failure}"

    def _heal(self, stream: UpdateStream, failure: ShadowkeepError) -> None:
        """Go on with the steps of a stream that has broken, if nobody else does; in its thread."""

        def is_needed() -> bool:
            is_left_alone = self._stream is stream and self._failure is None and self.outages is None
            return is_left_alone and len(self._progress.pending) > 0

        self._healing.behind_the_caller(is_needed, lambda: self._reconnect(failure, None, None))

    def _call_off_healing(self) -> None:
        """Before a call takes the link into its hands, which a forked process could wait for in vain."""
        self._check_own()
        self._healing.is_called_off = True
        if self._healing.is_under_way and self._stream is not None:
            self._stream.cancel("a call goes on with the steps")

    def _send(self, pushed: PushedStep, offset: int, *, kept: bool) -> None:
        stream = self._current()
        step = pushed.commit.step

        def send(offset: int, message: bytes) -> None:
            if kept:
                stream.send_kept(SentMessage(step, offset, message))
            else:
                stream.send(message)

        if offset == 0 and step > 0 and self._has_lost_steps:
            # Steps only rise: what was not pushed before this one never will be.
            send(0, wire.UpdateRequest(lost=wire.Lost(step - 1)).encode())
        for chunk in chunks_from(pushed.plan, offset):
            parts = fill_chunk(chunk, pushed.array_of)
            send(chunk.offset, wire.chunk_message(step, chunk.offset, parts, chunk.size, self._checksum))
        stream.commit(pushed.commit)

    @property
    def _has_lost_steps(self) -> bool:
        """Whether there are steps after the committed one that this writer has lost."""
        lost, committed = self._lost_through, self._progress.committed_step
        return lost is not None and (committed is None or committed < lost)

    def _wait_answer(self, step: int) -> None:
        """Wait until the step is acknowledged; an outage of another process, whose part is missing, is one here."""
        if self._shared and self.outages is not None:
            seconds = max(self._reconnect_timeout, PEERS_SECONDS_MIN)
            try:
                self._current().wait_acked(seconds)
            except DeadlineExceededError as late:
                if late.reason != "WAIT_TIMEOUT":
                    raise
                self.outages.began(UnavailableError(f"step {step} has waited for other processes for {seconds:g} s"))
        self._current().wait_acked(None)

    def _dial(self, *, takeover: bool, timeout: float) -> wire.UpdateOpened:
        """Open a stream; the one before has ended."""
        opening = replace(self._opening, takeover=takeover)
        rest = (self._progress, self._stall_seconds, self._heal)
        stream = self._stream = apart(lambda: UpdateStream(self._connection.stub(), opening, *rest))
        try:
            self._raise_failure()
            self._healing.check()
            opened = stream.wait_opened(timeout)
        except BaseException:
            stream.cancel("the stream was not opened")
            raise
        self._compare(opened)
        self._opened, self._opened_at = opened, time.monotonic()
        return opened

    def _reconnect(self, failure: ShadowkeepError, current: wire.Commit | None, until: float | None) -> int | None:
        """Open a new stream after `failure`; return from which byte on `current` is to be sent, None: not at all."""
        if time.monotonic() - self._opened_at > PAUSE_SECONDS_MAX and not self._has_stalled(failure):
            self._backoff = None
        if self._stream is not None:
            self._stream.cancel(failure.message)
        while True:
            self._pause(failure, current, until)
            try:
                return self._take_up(self._dial(takeover=True, timeout=self._patience(until)), current)
            except ShadowkeepError as error:
                if error.reason != "WAIT_TIMEOUT":
                    failure = error

    def _has_stalled(self, failure: ShadowkeepError) -> bool:
        """Whether it took so long to break because nothing moved."""
        return time.monotonic() - self._opened_at >= self._stall_seconds and STALLED in failure.message

    def _patience(self, until: float | None) -> float:
        """Return for how long a stream may take to open; before the first has, the other writers may not be there."""
        bounds = [self._open_timeout, _left(until)]
        if self._opened is not None and self._backoff is not None:
            bounds.append(self._backoff.left)
        return min(bound for bound in bounds if bound is not None)

    def _pause(self, failure: ShadowkeepError, current: wire.Commit | None, until: float | None) -> None:
        """Wait before the next attempt; raise `failure` when there is none."""
        self._raise_failure()
        self._healing.check()
        if until is not None and time.monotonic() >= until:
            raise DeadlineExceededError(f"steps are not acknowledged yet: {failure.message}", reason="WAIT_TIMEOUT")
        if not self._can_heal(failure):
            self._give_up(failure)
        if self._backoff is None:
            self._backoff = Backoff(self._reconnect_timeout)
        pause = self._backoff.next_pause(_left(until))
        if pause is None:
            pause = self._outlast(failure, current)
        with self._progress.lock:
            self._progress.changed.wait_for(lambda: self._failure is not None or self._healing.is_to_end, pause)
        self._raise_failure()
        self._healing.check()

    def _can_heal(self, failure: ShadowkeepError) -> bool:
        # The others are late, too, when they have lost the same service.
        return is_transient(failure) or (self.outages is not None and failure.reason == "WRITERS_MISSING")

    def _outlast(self, failure: ShadowkeepError, current: wire.Commit | None) -> float:
        """Return the pause after which a service that stays away is tried again; only a push waits for it."""
        if self.outages is None:
            self._give_up(failure)
        if current is None:
            raise failure.again()
        self.outages.began(failure)
        self._backoff = Backoff(math.inf)
        return PAUSE_SECONDS_MAX

    def _take_up(self, opened: wire.UpdateOpened, current: wire.Commit | None) -> int | None:
        """Go on with what was pushed before on the new stream."""
        progress = self._progress
        reached = (progress.answers, opened.step, opened.received_bytes)
        if reached != self._reached:
            self._reached, self._backoff = reached, None
        with progress.lock:
            before = progress.committed_step
            if before is not None and (opened.committed_step is None or opened.committed_step < before):
                if self.outages is not None:
                    self.outages.went_back(before, opened.committed_step)
                    self.lose(before)
                else:
                    self._give_up(
                        UnavailableError(
                            f"the service has gone back from step {before} to {opened.committed_step}: "
                            f"open run {self.run!r} again to go on from there"
                        )
                    )
            stands = standing(opened, progress.pending, progress.tail, current, self._checksum)
            if stands.lost is not None:
                self._give_up(
                    UnavailableError(
                        f"step {stands.lost.step} of run {self.run!r} was lost when the connection broke: "
                        f"open the run again to go on after step {opened.committed_step}"
                    )
                )
            is_sent_anew = current is not None and stands.offset is not None
            progress.go_on(opened, stands.pending, current.step if current is not None and is_sent_anew else None)
        self._current().take_acks()
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
                    f"the writer's part of run {self.run!r} had {before[0]} bytes, it has {now[0]} now",
                    reason="BOXES_CHANGED",
                )
            )

    def _current(self) -> UpdateStream:
        self._raise_failure()
        assert self._stream is not None
        return self._stream

    def _give_up(self, failure: ShadowkeepError) -> NoReturn:
        self._failure = failure
        if not self._healing.is_under_way:
            ending.forget(self)
        if self._stream is not None:
            self._stream.cancel(failure.message)
        raise failure.again()

    def _check_own(self) -> None:
        if not self.is_own:
            raise forked_error(self.run, self._pid)

    def _raise_failure(self) -> None:
        self._check_own()
        if self._failure is not None:
            # Whoever gets it knows of it at the end of the process, too.
            ending.forget(self)
            raise self._failure.again()


def forked_error(run: str, pid: int) -> RuntimeError:
    """Return the error of a process that uses what another one has opened, whose threads and locks it has not."""
    return RuntimeError(
        f"run {run!r} was opened by process {pid}, from which this one ({os.getpid()}) was forked: it pushes what it "
        "has opened by itself"
    )


def _left(until: float | None) -> float | None:
    """Return the seconds until then, at least 0; None: without bound."""
    return None if until is None else max(0.0, until - time.monotonic())
