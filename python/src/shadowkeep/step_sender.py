"""Sends a writer's steps one after another, on as many streams as it takes, and waits for their acks."""

from __future__ import annotations

import time

from . import ending, wire
from .backoff import is_disconnect, seconds_until
from .connection import Connection
from .errors import DeadlineExceededError, ShadowkeepError, UnavailableError
from .final_failure import FinalFailure
from .healing import Healing
from .outgoing_step import OutgoingStep
from .own_process import OwnProcess
from .progress import Progress
from .reconnection import Outages, SenderOptions
from .update_stream import UpdateStream
from .writer_streams import WriterStreams

# At the end of a process the service is told so, but not waited for.
CLOSE_SECONDS_MAX = 1.0

# Before the other processes' parts of a step are missed: what the slowest takes to send and the service to fold.
PEERS_SECONDS_MIN = 10.0


class StepSender:
    """Steps of one writer. A failure that no new stream can heal is raised by every later call.

    Args:
        connection: for the streams.
        opening: first message of a stream.
        progress: takes the acknowledgements.
        options: how steps are sent.

    Attributes:
        run: the run's name.
    """

    def __init__(
        self, connection: Connection, opening: wire.UpdateOpen, progress: Progress, options: SenderOptions
    ) -> None:
        self.run = opening.run
        self._progress = progress
        self._options = options
        self._process = OwnProcess(opening.run)
        self._healing = Healing()
        self._final = FinalFailure(self._process, progress, self._healing, self)
        self._streams = WriterStreams(
            connection, opening, progress, options, self._final, self._healing, self._on_failure
        )

    def open(self) -> wire.UpdateOpened:
        """Open the first stream, if that has not been done, and return what the service said."""
        self._final.check()
        if self._streams.opened is not None:
            return self._streams.opened
        ending.watch(self)
        return self._streams.open()

    def push(self, step: OutgoingStep, *, until_acked: bool = False) -> None:
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
                            self._transmit(step, offset, is_kept=not until_acked)
                        if until_acked:
                            self._wait_acked(step.commit.step)
                        return
                    except ShadowkeepError as failure:
                        offset = self._streams.connect(failure, step.commit)
        except BaseException:
            if self._final.failure is None:
                self.fail(f"step {step.commit.step} of run {self.run!r} was broken off")
            raise

    def flush(self, timeout: float | None) -> None:
        """Wait until every pushed step is acknowledged. Raises DeadlineExceededError after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        self._call_off_healing()
        with self._healing.hands:
            self._healing.is_called_off = False
            while self._streams.stream is not None and self._progress.pending:
                try:
                    self._streams.usable_stream().wait_acked(None if end is None else seconds_until(end))
                except ShadowkeepError as failure:
                    if failure.reason == "WAIT_TIMEOUT":
                        raise
                    self._streams.connect(failure, end=end)

    def close(self, timeout: float | None) -> None:
        """Wait until every pushed step is acknowledged, then end the stream in order."""
        self._final.check()
        self.flush(timeout)
        if self._streams.stream is not None:
            try:
                self._streams.stream.close(timeout)
            except ShadowkeepError as failure:
                # Nothing was left to be lost.
                if not is_disconnect(failure):
                    raise
        ending.forget(self)

    def fail(self, why: str) -> None:
        """End everything at once, and every attempt to open another stream; from any thread."""
        if not self.is_own:
            return
        self._final.set(UnavailableError(why, reason="CANCELLED"))
        if self._streams.stream is not None:
            self._streams.stream.cancel(why)

    def outlast(self, outages: Outages) -> None:
        """From now on a push goes on trying while the service stays away, and says so to `outages`."""
        self._streams.reconnection.outages = outages

    @property
    def is_own(self) -> bool:
        """Whether this process opened it, and not one that it was forked from."""
        return self._process.is_this

    @property
    def pending_steps(self) -> list[int]:
        """Those that are not acknowledged, rising."""
        with self._progress.lock:
            return [commit.step for commit in self._progress.pending]

    def finish(self, seconds: float) -> str | None:
        """Wait until every pushed step is acknowledged; return which ones are not, None: there are none."""
        failure: ShadowkeepError | None = None
        try:
            self.flush(seconds)
            self.close(CLOSE_SECONDS_MAX)
        except ShadowkeepError as error:
            failure = error
        steps = self.pending_steps
        if not steps:
            return None
        which = f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} steps from {steps[0]} to {steps[-1]}"
        return f"{which} of run {self.run!r} may be lost: {failure}"

    def _on_failure(self, stream: UpdateStream, failure: ShadowkeepError) -> None:
        """Go on with the steps of a stream that has broken, if nobody else does; in its thread."""

        def is_needed() -> bool:
            is_left_alone = self._streams.stream is stream and self._streams.reconnection.outages is None
            return is_left_alone and self._final.failure is None and len(self._progress.pending) > 0

        self._healing.behind_the_caller(is_needed, lambda: self._streams.connect(failure))

    def _call_off_healing(self) -> None:
        """Before a call takes the streams into its hands, which a forked process could wait for in vain."""
        self._process.check()
        self._healing.is_called_off = True
        if self._healing.is_under_way and self._streams.stream is not None:
            self._streams.stream.cancel("a call goes on with the steps")

    def _transmit(self, step: OutgoingStep, offset: int, *, is_kept: bool) -> None:
        stream, has_lost_steps = self._streams.usable_stream(), self._progress.has_lost_steps
        step.transmit(stream, offset, self._options.checksum, has_lost_steps=has_lost_steps, is_kept=is_kept)

    def _wait_acked(self, step: int) -> None:
        """Wait until the step is acknowledged; an outage of another process, whose part is missing, is one here."""
        outages = self._streams.reconnection.outages
        if self._options.is_shared and outages is not None:
            seconds = max(self._options.reconnect_timeout, PEERS_SECONDS_MIN)
            try:
                self._streams.usable_stream().wait_acked(seconds)
            except DeadlineExceededError as late:
                if late.reason != "WAIT_TIMEOUT":
                    raise
                outages.began(UnavailableError(f"step {step} has waited for other processes for {seconds:g} s"))
        self._streams.usable_stream().wait_acked(None)
