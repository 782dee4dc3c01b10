"""The EMA class that training scripts know, with its state in the service."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from torch import nn

from ..averages.checks import step_number
from ..client import RECONNECT_SECONDS_DEFAULT, Client, NonFiniteName, connect
from ..dtypes import FloatName
from ..layout import PolicyName
from ..not_copied import NotCopied
from ..retention import Retention
from ..snapshots import Snapshots
from .applying import AppliesAverages
from .names import BuffersPolicy, FrozenPolicy
from .opening import RunOpening
from .options import Averages, OnBusy, OnFailure, Resume, averages_of, buffers_of, flat_averages, one_of
from .reading import AverageReader
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
        decay: 0 to 1, of one average named "ema"; 0.999 when there are no `averages`.
        averages: what `shadowkeep.averages` makes, one or a list of them; all are fed by one push.
        wire_dtype: dtype in which averaged tensors travel. "BF16" halves the bytes, the time of the snapshot and
            its memory; the average itself stays in float32.
        on_busy: what `update()` does while the previous snapshot is still leaving: "wait", or, where one process
            pushes, "skip" the step.
        buffers: persistent buffers are sent and kept as they are ("copy"), averaged where they are floating-point
            ("average": the statistics of batch norm), or left out ("ignore"). Integer ones are never averaged. Of
            several processes the first one's are sent. None: as the presets among the averages say, whose peers do one
            or the other; else "copy".
        frozen: parameters with `requires_grad=False` at `register()` are sent with the first step and then no more
            ("once": training one of them later is an error), averaged like the others, or sent and kept as they are
            with each step ("copy").
        policies: AVERAGE, COPY, IGNORE or COPY_ONCE by name pattern ("*" is any run of characters), above what
            `buffers` and `frozen` say; the last one that matches wins.
        names: from the names of the model's tensors to those in the run, for wrappers that are not known here: a
            callable, or a mapping of names and of beginnings of names ({"net.wrapped": "net"}). Wrappers of torch,
            Lightning Fabric, Opacus, DeepSpeed and others are known, and leave no trace in the names.
        weights: tensors to push in place of the model's parameters of the same names, as a mapping or a callable
            that returns one at each update: the optimizer's float32 master weights. The model gets the average cast
            to its own dtype. Sharded ones are DTensors.
        scaler: the gradient scaler. A step for which its scale fell, and no optimizer of these weights has stepped, was
            skipped and is not folded: call `update()` once after each `scaler.update()`. Of optimizers that are none
            of torch.optim the scale alone says it. It reads the scale, for which a GPU is waited for.
        replica: True: others push these weights, from here nothing is pushed, averages can be applied. What the run
            has is applied, whatever is frozen here, but for what `policies` and `buffers` ignore. One that only
            evaluates need not call `register()`. False: this process pushes alone. None: all of `world` push.
        non_finite: what is done with infinities and NaN in averaged tensors, as in `Client.open_run`: the step changes
            nothing and is counted (REJECT_STEP), those tensors keep their averages (SKIP_TENSOR), or ACCEPT.
        snapshots: states of power-function averages to keep, as in `Client.open_run`.
        incarnation: names this life of the trainer, so that an older one that still runs is fenced. None: a new one.
        world: the processes that push, and this one's place. None: all of torch.distributed where it is initialised
            when `register()` is called, else this one. See `torchrun_world`.
        resume: what `register(step)` does in a run whose committed step is not the trainer's. "step": a training that
            begins (step 0) is refused; one that comes back from before the committed step goes on, and does not push
            the steps up to it again; one that comes back from after it is refused. "continue": it goes on whatever the
            run has. "rewind": to the newest retained version at or below `step` (see `retain`), later ones are undone.
            "refuse": any difference is an error. What is not refused is warned about: a run without commits, too, of
            which a restored trainer's averages begin at `step`. Steps are compared, not weights: whoever restores
            other weights under the same number has to name another run.
        retain: older versions for the service to keep, as in `Client.open_run`.
        reconnect_timeout: seconds for which a connection that broke, or a service that is not up yet, is tried again
            before an error is raised or, of a step, what `on_failure` says is done.
        on_failure: what becomes of the training when the service fails, or stays away for longer than
            `reconnect_timeout`. "warn": it goes on; steps are counted as lost (`lost_steps`) until the service is back,
            which is looked for in the background with the step that was on its way, and each outage is a
            RuntimeWarning, the lost steps another one at `close()`. Of several processes an outage of one is one of
            all: they wait for its part of a step for `reconnect_timeout` (at least 10 s), lose what follows, and go on
            together when it is back. A step that one of them has lost is dropped for all: what others have pushed of
            it is in `dropped_steps`, as is what the service drops for a part that does not come (`--step-timeout`).
            `register()`, `flush()` and whatever reads an average raise all the same, and so does
            `update()` when a newer life of this training has taken the run over.
            "raise": `update()` raises, and the training ends.

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
        one_of("on_busy", on_busy, ("wait", "skip"))
        one_of("on_failure", on_failure, ("warn", "raise"))
        one_of("resume", resume, ("step", "continue", "refuse", "rewind"))
        if buffers is not None:
            one_of("buffers", buffers, ("copy", "average", "ignore"))
        one_of("frozen", frozen, ("once", "average", "copy"))
        if decay is not None and averages is not None:
            raise ValueError(f"decay ({decay}) is that of an average of its own: it and averages exclude each other")
        self.model = model
        self.replica = replica is True
        self.step = 0
        self.skipped_steps = 0
        self._owns_client = isinstance(target, str)
        self._client = connect(target, reconnect_timeout=reconnect_timeout) if isinstance(target, str) else target
        self._decay = decay
        self._averages = None if averages is None else flat_averages(averages)
        self._buffers = buffers_of(self._averages or (), model) if buffers is None else buffers
        self._frozen = frozen
        self._policies = policies
        self._names = names
        self._weights = weights
        self._scaler = scaler
        self._scale: ScaleWatch | None = None
        self._opening = RunOpening(
            self._client,
            run,
            World.alone() if replica is False and world is None else world,
            resume,
            on_busy,
            incarnation,
            wire_dtype,
            non_finite,
            snapshots,
            retain,
            reconnect_timeout,
            on_failure,
        )
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
        pushed = PushedTensors(self.model, self._buffers, self._frozen, self._weights, self._policies, self._names)
        self._swap.check_raw(pushed.tensors, f"register() of run {self.run!r}")
        averages = averages_of(self._averages, self._decay, pushed.specs())
        self._reader.averages = averages
        self._reader.policies = {named.name: named.policy for named in pushed.tensors}
        self._writer, self.step = self._opening.open(pushed, averages, step)
        self._scale = None if self._scaler is None else ScaleWatch(self._scaler, self.model, self._weights)
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
        must_not_wait = self._opening.on_busy == "skip" and writer.busy
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
