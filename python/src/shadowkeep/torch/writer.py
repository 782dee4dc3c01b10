"""The sending side of an `EMA`: from the model's tensors to the run's stream."""

from __future__ import annotations

from ..errors import ShadowkeepError
from ..run import Run
from ..wire import Bytes1D
from .background import BackgroundSender
from .frozen import FrozenTensors
from .share import Share
from .snapshot import Snapshot, whole_step


class Writer:
    """Pushes a trainer's tensors, or this process's share of them, one step at a time, in a thread.

    Opens the run's stream, for which all processes that push have to come.

    Args:
        run: the run, opened for these tensors; it is abandoned when anything fails.
        share: what is sent.
        frozen: the part of it that is sent once.
    """

    def __init__(self, run: Run, share: Share, frozen: FrozenTensors) -> None:
        self.run = run
        self._share = share
        self._frozen = frozen
        try:
            run.open_stream()
            self._snapshot = Snapshot(share, run.part)
        except BaseException:
            run.abandon()
            raise
        self._sender = BackgroundSender()

    @property
    def busy(self) -> bool:
        """Whether a step is still leaving."""
        return self._sender.busy

    def begin(self, step: int) -> None:
        """Push the weights before the first update and wait for the answer.

        Of a run that has commits, only look whether its frozen tensors are these.

        Raises:
            RuntimeError: the frozen tensors are others, or the service rejects the weights for infinities or NaN.
        """
        if self.run.committed_step is not None:
            self._frozen.verify()
            return
        self.run.push_space(step, self._first_space(), initial=True, until_acked=True)
        if self.run.committed_step is None:
            raise RuntimeError(
                f"run {self.run.name!r} cannot begin: the model has infinities or NaN in averaged weights"
            )

    def repeat(self, step: int, conflict: ShadowkeepError) -> None:
        """Push the weights of the beginning again, for the service to compare. Raises `conflict` for other ones."""
        self._frozen.verify()
        try:
            self.run.push_space(step, self._first_space(), initial=True, until_acked=True)
        except ShadowkeepError as error:
            raise (conflict if error.reason == "STEP_CONFLICT" else error) from None

    def push(self, step: int) -> None:
        """Take a snapshot and send it in the thread; waits while the step before is leaving."""
        self._frozen.check()
        self._sender.wait_idle()
        self._snapshot.take()
        self._sender.start(step, lambda: self._push_snapshot(step))

    def skip(self, step: int) -> None:
        """Tell the service that the optimizer skipped this step."""
        self._sender.wait_idle()
        self.run.skip(step)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything is acknowledged."""
        self._sender.wait_idle(timeout)
        self.run.flush(timeout)

    def close(self) -> None:
        """Wait until everything is acknowledged and end the stream."""
        try:
            self._sender.wait_idle()
            self.run.close()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End the stream and the thread at once."""
        self.run.abandon()
        self._sender.stop()
        self._snapshot.close()

    def _first_space(self) -> Bytes1D:
        part = self.run.part
        if part.first_step_bytes > part.step_bytes:
            return whole_step(self._share, part)
        self._snapshot.take()
        self._snapshot.wait()
        return self._snapshot.space

    def _push_snapshot(self, step: int) -> None:
        self._snapshot.wait()
        # The snapshot must stay as it is until the service has it: a connection that breaks is healed from it.
        self.run.push_space(step, self._snapshot.space, until_acked=True)
