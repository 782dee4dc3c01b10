"""A writer's way to the service: one stream after another, as connections break, and each goes on where the last ended.

A step that is being pushed is still in its caller's hands, so that a break in it is healed here: the new stream's
`opened` says how many of its bytes have arrived, and only the rest is sent. Of steps that were pushed before only the
newest messages are at hand (tail.py); if the service lacks more of them than those, they are lost, which is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from . import wire
from .apart import apart
from .backoff import is_disconnect
from .connection import Connection
from .errors import ShadowkeepError, UnavailableError
from .final_failure import FinalFailure
from .healing import Healing
from .progress import Progress
from .reconnection import Reconnection, SenderOptions
from .resume_steps import Standing, check_resumed, has_gone_back, is_further, resume_steps
from .update_stream import UpdateStream


class WriterStreams:
    """Opens a writer's streams.

    Args:
        connection: for the streams.
        opening: first message of a stream.
        progress: of the writer.
        options: how its steps are sent.
        final: the failure that ends all attempts.
        healing: is called off for a caller.
        on_failure: hears of a stream that has failed.

    Attributes:
        stream: the newest one; None: there was none yet.
        opened: the newest answer to one.
        reconnection: when the next one is opened.
    """

    def __init__(
        self,
        connection: Connection,
        opening: wire.UpdateOpen,
        progress: Progress,
        options: SenderOptions,
        final: FinalFailure,
        healing: Healing,
        on_failure: Callable[[UpdateStream, ShadowkeepError], None],
    ) -> None:
        self.stream: UpdateStream | None = None
        self.opened: wire.UpdateOpened | None = None
        self.reconnection = Reconnection(progress, options, final, healing)
        self._connection = connection
        self._opening = opening
        self._progress = progress
        self._options = options
        self._final = final
        self._healing = healing
        self._on_failure = on_failure
        # Acknowledgements that had come when the newest stream was opened.
        self._answers = 0

    def open(self) -> wire.UpdateOpened:
        """Open the first stream, and return what the service said."""
        try:
            self._open_stream(self._options.open_timeout, None, takeover=False)
        except ShadowkeepError as failure:
            if not is_disconnect(failure):
                raise
            self.connect(failure)
        assert self.opened is not None
        return self.opened

    def connect(
        self, failure: ShadowkeepError, current: wire.Commit | None = None, end: float | None = None
    ) -> int | None:
        """Open a stream after one has failed, again and again.

        Args:
            failure: what it failed with.
            current: the step that is being pushed.
            end: when that is left to a later call, by the monotonic clock.

        Returns:
            From which byte on `current` is to be sent; None: not at all.
        """
        self.reconnection.broken(failure)
        if self.stream is not None:
            self.stream.cancel(failure.message)
        while True:
            self.reconnection.wait(failure, end, is_push=current is not None)
            try:
                return self._open_stream(self.reconnection.answer_seconds(end), current, takeover=True)
            except ShadowkeepError as error:
                if error.reason != "WAIT_TIMEOUT":
                    failure = error

    def usable_stream(self) -> UpdateStream:
        """Return the newest stream. Raises the final failure."""
        self._final.check()
        assert self.stream is not None
        return self.stream

    def _open_stream(self, timeout: float, current: wire.Commit | None, *, takeover: bool) -> int | None:
        """Return as `connect`."""
        opening = replace(self._opening, takeover=takeover)
        rest = (self._progress, self._options.stall_seconds, self._on_failure)
        stream = self.stream = apart(lambda: UpdateStream(self._connection.stub(), opening, *rest))
        try:
            self._final.check()
            self._healing.check()
            return self._on_opened(stream, stream.wait_opened(timeout), current)
        except BaseException:
            stream.cancel("the stream was not opened")
            raise

    def _on_opened(self, stream: UpdateStream, opened: wire.UpdateOpened, current: wire.Commit | None) -> int | None:
        """Go on with the steps that were under way; return as `connect`."""
        try:
            standing = self._resumed(opened, current)
        except ShadowkeepError as failure:
            self._final.give_up(failure)
        stream.take_acks()
        for message in standing.messages:
            stream.send(message)
        return standing.offset

    def _resumed(self, opened: wire.UpdateOpened, current: wire.Commit | None) -> Standing:
        progress, before, run = self._progress, self.opened, self._opening.run
        if before is not None:
            check_resumed(run, before, opened)
        self.opened = opened
        with progress.lock:
            has_achieved = before is None or progress.answers != self._answers or is_further(opened, before)
            self.reconnection.connected(has_achieved=has_achieved)
            self._answers = progress.answers
            if progress.committed_step is not None and has_gone_back(opened, progress.committed_step):
                self._go_back(progress.committed_step, opened.committed_step)
            standing = resume_steps(opened, progress.pending, progress.tail, current, self._options.checksum)
            if standing.lost is not None:
                raise UnavailableError(
                    f"step {standing.lost.step} of run {run!r} was lost when the connection broke: "
                    f"open the run again to go on after step {opened.committed_step}"
                )
            sent_anew = None if current is None or standing.offset is None else current.step
            progress.go_on(opened, standing.pending, sent_anew)
        return standing

    def _go_back(self, before: int, now: int | None) -> None:
        outages = self.reconnection.outages
        if outages is None:
            raise UnavailableError(
                f"the service has gone back from step {before} to {now}: "
                f"open run {self._opening.run!r} again to go on from there"
            )
        outages.went_back(before, now)
        self._progress.lose(before)
