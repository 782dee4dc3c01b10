"""The EMA class that training scripts know, with its state in the service."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from torch import nn

from ..averages.checks import step_number
from ..client import Client, connect
from ..dtypes import FloatName
from ..layout import PolicyName
from ..not_copied import NotCopied
from ..options import RECONNECT_SECONDS_DEFAULT, NonFiniteName
from ..retention import Retention
from ..snapshots import Snapshots
from .applying import AppliesAverages
from .names import BuffersPolicy, FrozenPolicy
from .opening import RunOpening
from .options import EMAOptions, OnBusy, OnFailure, Resume
from .reading import AverageReader
from .run_averages import Averages, averages_of, buffers_of, flat_averages
from .scale import LossScaler, ScaleWatch
from .swap import WeightSwap
from .units import ShardedUnits
from .weights import PushedTensors, Weights
from .world import World
from .wrappers import Names
from .writer import Writer

logger = logging.getLogger("shadowkeep")


class EMA(AppliesAverages, NotCopied):
    """Averages of a module's weights, kept by the service. Use it from the training thread.

    With `decay` the numbers are those of the textbook class: after `register()` the shadow equals the weights, each
    `update()` makes it decay * shadow + (1 - decay) * weights. `averages` takes any others.

    In a distributed training every process makes the same calls, and sends and applies what it holds: of replicated
    weights (DistributedDataParallel) an equal part in bytes, of sharded ones (FSDP, FSDP2, tensor parallel, any
    DTensor) its own shards. Nothing is gathered and no collective is called.

    Args:
        model: its trainable floating-point parameters are averaged. DDP, FSDP, torch.compile and the like may wrap it.
        target: "HOST:PORT" of the service, or a client.
        run: the run's name.

    The other keywords are the fields of `shadowkeep.torch.EMAOptions`, which explains them.

    A script that ends without `close()` still sends what was pushed, for at most 30 s, and names on standard error what
    has not arrived. An EMA cannot be copied or pickled, and pushes only in the process that has registered it.

    Attributes:
        replica: whether only other processes push.
        step: the last step that `update()` counted, for the checkpoint. One for which it raised is not counted.
        skipped_steps: how many updates were of steps that the optimizer had skipped.
    """

    WAY_OUT = (
        "keep it beside the model, or take it off before (`del model.ema`), and save model.state_dict(); its average "
        "is the service's, and an EMA that registers with the same run goes on with it"
    )

    def __init__(
        self,
        model: nn.Module,
        target: str | Client,
        *,
        run: str,
        decay: float | None = None,
        averages: Averages | None = None,
        wire_dtype: FloatName | None = None,
        on_busy: OnBusy = "wait",
        buffers: BuffersPolicy | None = None,
        frozen: FrozenPolicy = "once",
        policies: Mapping[str, PolicyName] | None = None,
        names: Names | None = None,
        weights: Weights | None = None,
        scaler: LossScaler | None = None,
        replica: bool | None = None,
        non_finite: NonFiniteName = "REJECT_STEP",
        snapshots: Snapshots | None = None,
        incarnation: str | None = None,
        world: World | None = None,
        resume: Resume = "step",
        retain: Retention | None = None,
        reconnect_timeout: float = RECONNECT_SECONDS_DEFAULT,
        on_failure: OnFailure = "warn",
    ) -> None:
        options = EMAOptions.of(locals())
        self.model = model
        self.replica = options.replica is True
        self.step = 0
        self.skipped_steps = 0
        self._averages = None if averages is None else flat_averages(averages)
        self._buffers = buffers_of(self._averages or (), model) if buffers is None else buffers
        self._owns_client = isinstance(target, str)
        self._client = connect(target, reconnect_timeout=reconnect_timeout) if isinstance(target, str) else target
        self._opening = RunOpening(self._client, run, options)
        self._scale: ScaleWatch | None = None
        self._busy_drops = 0
        # Of the run's steps until it was closed: dropped, rejected, lost.
        self._final_counts = (0, 0, 0)
        self._closed = False
        self._writer: Writer | None = None
        self._last_step: int | None = None
        self._resumed_step = -1
        reader = AverageReader(self._client, run, model, names, self._buffers, policies)
        super().__init__(reader, WeightSwap(model, names), ShardedUnits(model))
        self._reader.averages = self._averages or ()

    @property
    def run(self) -> str:
        """The run's name."""
        return self._run_name

    @property
    def _run_name(self) -> str:
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

    def register(self, step: int | None = None) -> None:
        """Open the run and push the weights as they are now; averages that start from them do so.

        When the run has commits already, the trainer resumes, as `resume` says: nothing is pushed now, and `update()`
        counts on from `step`. Where several processes push it waits until all have called it.

        Args:
            step: that of the last `update()` before the checkpoint that was restored; 0 when none was. None: 0, but
                with `resume="continue"` the committed one.

        Raises:
            FailedPreconditionError: RUN_HAS_COMMITS: the training begins, the run did before; RUN_BEHIND: the service
                has fewer steps than the trainer; TRAINER_BEHIND with `resume="refuse"`. LAYOUT_MISMATCH or
                AVERAGES_MISMATCH, when the run exists with others.
            NotFoundError: there is no version to rewind to.
            DeadlineExceededError: WRITERS_MISSING: another process has not come within the service's `--step-timeout`
                (5 min), as where only rank 0 has made the EMA.
            RuntimeError: the run has other frozen weights; those that are sent once are read back and compared.
            ValueError, TypeError: a tensor cannot be sent from here, as a DTensor that is Partial, or one that is
                sparse, quantized or without values; the message names it and what to do. `step` is no integer.
        """
        if self._writer is not None:
            raise RuntimeError("register() was called before")
        step = None if step is None else step_number("step", step)
        self._units = ShardedUnits(self.model)
        self.step = step or 0
        if self.replica:
            return
        self._units.reshard()
        options = self._opening.options
        pushed = PushedTensors(
            self.model, self._buffers, options.frozen, options.weights, options.policies, options.names
        )
        self._swap.check_raw(pushed.tensors, f"register() of run {self.run!r}")
        averages = averages_of(self._averages, options.decay, pushed.specs())
        self._reader.averages = averages
        self._reader.policies = {named.name: named.policy for named in pushed.tensors}
        self._writer, self.step = self._opening.open(pushed, averages, step)
        self._scale = None if options.scaler is None else ScaleWatch(options.scaler, self.model, options.weights)
        committed = self._writer.run.committed_step
        if committed is not None:
            self._resumed_step = committed

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def __repr__(self) -> str:
        return f"<EMA of run {self.run!r}>"

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
