"""The sending side of an `EMA`: from the model's tensors to the run's stream."""

from __future__ import annotations

from ..run import Run
from .background import BackgroundSender
from .frozen import FrozenTensors
from .snapshot import Snapshot, whole_step
from .weights import PushedTensors


class Writer:
    """Pushes a trainer's tensors, one step at a time, in a thread.

    Args:
        run: the run, opened for these tensors.
        pushed: what is sent.
        frozen: the part of it that is sent once.
    """

    def __init__(self, run: Run, pushed: PushedTensors, frozen: FrozenTensors) -> None:
        self.run = run
        self._pushed = pushed
        self._frozen = frozen
        self._snapshot = Snapshot(pushed, run.layout)
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
        layout = self.run.layout
        if self.run.committed_step is not None:
            self._frozen.verify()
            return
        if layout.first_step_bytes > layout.step_bytes:
            self.run.push_space(step, whole_step(self._pushed, layout), initial=True)
        else:
            self._snapshot.take()
            self._snapshot.wait()
            self.run.push_space(step, self._snapshot.space, initial=True)
        self.run.flush()
        if self.run.committed_step is None:
            raise RuntimeError(
                f"run {self.run.name!r} cannot begin: the model has infinities or NaN in averaged weights"
            )

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

    def _push_snapshot(self, step: int) -> None:
        self._snapshot.wait()
        self.run.push_space(step, self._snapshot.space)
