"""The sending side of an `EMA`: from the model's tensors to the run's stream."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterator

from ..errors import ShadowkeepError
from ..run import Run
from ..wire import Bytes1D
from .background import BackgroundSender
from .frozen import FrozenTensors
from .losses import Losses, is_tolerable, listed
from .names import NamedTensor
from .share import Share
from .snapshot import Snapshot, whole_step


class Writer:
    """Pushes a trainer's tensors, or this process's share of them, one step at a time, in a thread.

    Opens the run's stream, for which all processes that push have to come.

    Args:
        run: the run, opened for these tensors; it is abandoned when anything fails.
        share: what is sent.
        frozen: the part of it that is sent once.
        losses: counts the steps without which the training goes on when the service fails. None: it does not.
    """

    def __init__(self, run: Run, share: Share, frozen: FrozenTensors, losses: Losses | None) -> None:
        self.run = run
        self._share = share
        self._frozen = frozen
        self._losses = losses
        # Eight bytes a step: the weights of a training that has diverged are rejected to its end.
        self._rejected = array("q")
        try:
            run.open_stream()
            self._snapshot = Snapshot(share, run.part)
        except BaseException:
            run.abandon()
            raise
        self._sender = BackgroundSender(run.name, run.abandon)

    @property
    def tensors(self) -> Iterator[NamedTensor]:
        """The model's tensors whose values are read at each step."""
        return (named for named in self._share.pushed.tensors if named.policy != "COPY_ONCE")

    @property
    def busy(self) -> bool:
        """Whether a step is still leaving."""
        return self._sender.busy

    @property
    def newest_step(self) -> int | None:
        """The newest step that was handed over to be sent, whatever became of it."""
        return self._sender.newest_step

    @property
    def lost_steps(self) -> int:
        """How many steps are in no average, because the service was away."""
        return 0 if self._losses is None else self._losses.count

    def begin(self, step: int) -> None:
        """Push the weights before the first update and wait for the answer.

        Of a run that has commits, only look whether its frozen tensors are these.

        Raises:
            RuntimeError: the frozen tensors are others, or the service rejects the weights for infinities or NaN.
        """
        if self.run.committed_step is not None:
            self._frozen.verify()
        else:
            self.run.push_space(step, self._first_space(), initial=True, until_acked=True)
            self.run.tell()
            if self.run.committed_step is None:
                raise RuntimeError(self._not_finite())
        self._frozen.begin()
        self._outlast_failures()

    def follow(self) -> None:
        """Look whether the model has the tensors that were registered. Raises RuntimeError, which names the others."""
        self._share.pushed.follow()

    def repeat(self, step: int, conflict: ShadowkeepError) -> None:
        """Push the weights of the beginning again, for the service to compare. Raises `conflict` for other ones."""
        self._frozen.verify()
        try:
            self.run.push_space(step, self._first_space(), initial=True, until_acked=True)
        except ShadowkeepError as error:
            raise (conflict if error.reason == "STEP_CONFLICT" else error) from None
        self._frozen.begin()
        self._outlast_failures()

    def push(self, step: int) -> bool:
        """Take a snapshot and send it in the thread; waits while the step before is leaving.

        Returns:
            False: the service is away, and the training goes on without this step.
        """
        if not self._can_send(step):
            return False
        self._snapshot.take()
        self._sender.start(step, lambda: self._sent(step, skipped=False))
        return True

    def skip(self, step: int) -> None:
        """Tell the service that the optimizer skipped this step."""
        if self._can_send(step, frozen=False):
            self._sender.start(step, lambda: self._sent(step, skipped=True))

    def flush(self, timeout: float | None, through: int) -> None:
        """Wait until everything is acknowledged, and nothing is open up to `through`; during an outage raise it."""
        self._sender.wait_idle(timeout)
        self.run.flush(timeout)
        committed = self.run.committed_step
        # Of several processes not all may be here.
        if self.run.writers == 1 and committed is not None and committed < through:
            # The last ones were dropped, rejected or lost: a run that stood before them would refuse its trainer.
            self.skip(through)
            self._sender.wait_idle(timeout)

    def close(self, through: int) -> None:
        """As `flush`, and end the stream; a forked process has nothing to end."""
        if not self._sender.is_own:
            return
        try:
            try:
                self.flush(None, through)
                self.run.close()
                self._frozen.check_all()
            except ShadowkeepError as failure:
                if self._losses is None or not is_tolerable(failure):
                    raise
                self._lose_unsent()
        finally:
            self.abandon()
        self._tell_the_end()

    def abandon(self) -> None:
        """End the stream and the thread at once."""
        self.run.abandon()
        self._sender.stop()
        self._snapshot.close()

    def _outlast_failures(self) -> None:
        """From the beginning of the training on; `register()` raises what fails before."""
        if self._losses is not None:
            self.run.outlast(_SenderOutages(self._sender, self._losses))

    def _can_send(self, step: int, *, frozen: bool = True) -> bool:
        """Wait until the step before has left; False: this one is lost."""
        try:
            if frozen:
                self.follow()
                self._frozen.check()
            self._sender.wait_idle()
        except ShadowkeepError as failure:
            if self._losses is None or not is_tolerable(failure):
                raise
            self._losses.add(step, failure, final=self._sender.has_failed)
            self.run.lose(step)
            return False
        finally:
            if self._losses is not None:
                self._losses.tell()
            self.run.tell()
        return True

    def _first_space(self) -> Bytes1D:
        part = self.run.part
        if part.first_step_bytes > part.step_bytes:
            return whole_step(self._share, part)
        self._snapshot.take()
        self._snapshot.wait()
        return self._snapshot.space

    def _sent(self, step: int, *, skipped: bool) -> None:
        """Runs in the sender's thread."""
        dropped, late, rejected = self.run.dropped_steps, self.run.late_steps, self.run.rejected_steps
        try:
            if skipped:
                self.run.skip(step, until_acked=True)
            else:
                self._push_snapshot(step)
        except ShadowkeepError as failure:
            if self._losses is not None and is_tolerable(failure):
                self._losses.add(step, failure, final=True)
            raise
        is_rejected = self.run.rejected_steps > rejected
        if is_rejected:
            self._rejected.append(step)
        if self._losses is None:
            return
        # As long as a part is missing of each step the outage of the process that has it goes on.
        if self.run.late_steps == late:
            self._sender.end_outage()
        if self.run.dropped_steps == dropped:
            self._losses.acknowledge(step, skipped=skipped or is_rejected)

    def _push_snapshot(self, step: int) -> None:
        self._snapshot.wait()
        # The snapshot must stay as it is until the service has it: a connection that breaks is healed from it.
        self.run.push_space(step, self._snapshot.space, until_acked=True)
        self._frozen.look()

    def _not_finite(self) -> str:
        names = self._share.not_finite(self.run.layout)
        where = ", ".join(map(repr, names)) or "another process's part of the weights"
        return (
            f"run {self.run.name!r} cannot begin: there are infinities or NaN in {where}{self.run.layout.narrowing}. "
            'What holds them on purpose is kept as it is with policies={NAME: "COPY"}, or averaged with '
            'non_finite="ACCEPT"'
        )

    def _lose_unsent(self) -> None:
        """Count the step that goes on trying: with the end of the stream nobody does any more."""
        if self._losses is not None and self._sender.step is not None:
            self._losses.add(self._sender.step, None, final=True)

    def _tell_the_end(self) -> None:
        # Of the first one it was said when it came.
        if len(self._rejected) > 1:
            warnings.warn(
                f"run {self.run.name!r}: {len(self._rejected)} steps were rejected for infinities or NaN and are in "
                f"no average: {listed(self._rejected)}",
                RuntimeWarning,
                stacklevel=4,
            )
        if self._losses is None:
            return
        self._losses.tell()
        summary = self._losses.summary()
        if summary is not None:
            warnings.warn(summary, RuntimeWarning, stacklevel=4)


class _SenderOutages:
    """What a run's streams say of the service, for those that wait for the sender and for the count."""

    def __init__(self, sender: BackgroundSender, losses: Losses) -> None:
        self._sender = sender
        self._losses = losses

    def began(self, failure: ShadowkeepError) -> None:
        self._sender.report_outage(failure)

    def went_back(self, before: int, now: int | None) -> None:
        self._losses.went_back(before, now)
