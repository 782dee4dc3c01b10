"""The part of an `EMA` that pushes: step by step, from the time that it is registered to its end."""

from __future__ import annotations

import logging

from ..averages.checks import step_number
from .applying import AppliesAverages
from .opening import RunOpening
from .reading import AverageReader
from .scale import ScaleWatch
from .swap import WeightSwap
from .units import ShardedUnits
from .writer import Writer

logger = logging.getLogger("shadowkeep")


class PushesSteps(AppliesAverages):
    """Counts a trainer's steps, and pushes its weights of each. `EMA` explains its attributes.

    Args:
        opening: of the run; its client is closed with the run where it `owns_client`.
        owns_client: whether nobody else has the client.
        reader: as in `AppliesAverages`, like those that follow.
        swap: of the model.
        units: the model's.
    """

    def __init__(
        self, opening: RunOpening, owns_client: bool, reader: AverageReader, swap: WeightSwap, units: ShardedUnits
    ) -> None:
        super().__init__(reader, swap, units)
        self.replica = opening.options.replica is True
        self.step = 0
        self.skipped_steps = 0
        self._opening = opening
        self._client = opening.client
        self._owns_client = owns_client
        self._writer: Writer | None = None
        self._scale: ScaleWatch | None = None
        self._last_step: int | None = None
        self._resumed_step = -1
        self._busy_drops = 0
        # Of the run's steps until it was closed: dropped, rejected, lost.
        self._final_counts = (0, 0, 0)
        self._closed = False

    @property
    def run(self) -> str:
        """The run's name."""
        # The opening's, since the callbacks choose another name after the EMA was made.
        return self._opening.run

    @property
    def dropped_steps(self) -> int:
        """How many updates `on_busy="skip"` has dropped, or the service, for which a process's part came too late."""
        return self._busy_drops + (self._final_counts if self._writer is None else _counts(self._writer))[0]

    @property
    def rejected_steps(self) -> int:
        """How many steps the service did not fold for their infinities or NaN; of steps under way it does not know."""
        return (self._final_counts if self._writer is None else _counts(self._writer))[1]

    @property
    def lost_steps(self) -> int:
        """How many updates are in no average, because the service was away or has lost them (`on_failure="warn"`)."""
        return (self._final_counts if self._writer is None else _counts(self._writer))[2]

    @property
    def first_generation(self) -> int | None:
        """The generation that created the run, which no other of its name has. None: not registered, or not kept."""
        return None if self._writer is None else self._writer.run.first_generation

    @property
    def is_repeating(self) -> bool:
        """Whether the trainer repeats steps that the run had when it resumed: the newest average is of a later step."""
        return self.step < self._resumed_step

    def update(self, step: int | None = None, *, skipped: bool = False) -> bool:
        """Push the weights as they are now; returns as soon as they are copied (on a GPU: the copy is launched).

        Args:
            step: the trainer's step, larger than the last one; None: one more than it.
            skipped: the optimizer skipped this step, as with infinite gradients under a gradient scaler. The service
                is told and folds nothing. With `scaler=` it is found out.

        Returns:
            Whether the weights were pushed: False for a step that was skipped, or dropped by `on_busy="skip"`, or lost
            (`on_failure="warn"`), or that the run had committed when the trainer resumed.

        Raises:
            RuntimeError: the model has other tensors than were registered, which the message names; what was replaced
                under its name is followed. Or a frozen parameter is trained or written, or a shadow is applied, by this
                EMA or another one of these tensors.
            TypeError, ValueError: `step` is no integer, or not above the last one and below 2^53.
            ShadowkeepError: an earlier step has failed, with `on_failure="raise"`.
        """
        if self._swap.applied:
            raise RuntimeError("update() while the shadow is applied would push it as weights: call restore() first")
        if self.replica:
            self.step = step_number("step", self.step + 1 if step is None else step)
            return False
        writer = self._registered()
        self._swap.check_raw(writer.tensors, f"update() of run {self.run!r}")
        following = step_number("step", self.step + 1 if step is None else step)
        if self._last_step is not None and following <= self._last_step:
            raise ValueError(f"step must be larger than the last one, {self._last_step}, got {following}")
        scale_fell = self._scale is not None and self._scale.skipped()
        before, self.step = self.step, following
        try:
            return self._push(writer, following, skipped or scale_fell)
        except BaseException:
            # An interrupt may come when it is on its way already.
            if writer.newest_step == following:
                self._last_step = following
            else:
                self.step = before
            raise

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every pushed step is acknowledged. Raises DeadlineExceededError after `timeout` seconds.

        Where one process pushes, the service then knows of the steps up to `step` that those which were dropped or
        rejected are over: `step` is what a training that is restored from a checkpoint of now registers with.
        """
        if not self.replica:
            self._registered().flush(timeout, self.step)

    def newest_step(self, timeout: float | None = None) -> int | None:
        """Flush, and return the newest step that the service has committed; None before the first."""
        if self.replica:
            return self._client.get_run(self.run).committed_step
        self.flush(timeout)
        return self._registered().run.committed_step

    def close(self) -> None:
        """As `flush`, and end the stream. Raises what an earlier step failed with."""
        try:
            if self._writer is not None:
                self._writer.close(self.step)
        finally:
            self._release()

    def abandon(self) -> None:
        """End the stream at once: steps that are not acknowledged may be lost."""
        if self._writer is not None:
            self._writer.abandon()
        self._release()

    def _push(self, writer: Writer, step: int, skipped: bool) -> bool:
        """Do with the weights what `update` says; of the trainer's step it is known that it comes next."""
        if step <= self._resumed_step:
            self._last_step = step
            return False
        must_not_wait = self._opening.options.on_busy == "skip" and writer.busy
        if skipped:
            self.skipped_steps += 1
            if not must_not_wait:
                writer.skip(step)
                self._last_step = step
            return False
        if must_not_wait:
            self._busy_drops += 1
            logger.warning("step %d of run %r was dropped: the one before is still leaving", step, self.run)
            return False
        self._units.reshard()
        pushed = writer.push(step)
        self._last_step = step
        return pushed

    def _release(self) -> None:
        if self._scale is not None:
            self._scale.close()
        if self._writer is not None:
            self._final_counts = _counts(self._writer)
        self._writer = None
        self._closed = True
        if self._owns_client:
            self._client.close()

    def _newest_together(self, timeout: float) -> tuple[int | None, bool]:
        # Nothing more is committed before this process has pushed, too.
        return self.newest_step(timeout), self._writer is not None and self._writer.run.writers > 1

    def _check_model(self) -> None:
        if self._writer is not None:
            self._writer.follow()

    def _registered(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("this EMA is closed" if self._closed else "call register() first")
        return self._writer


def _counts(writer: Writer) -> tuple[int, int, int]:
    return writer.run.dropped_steps, writer.run.rejected_steps, writer.lost_steps
