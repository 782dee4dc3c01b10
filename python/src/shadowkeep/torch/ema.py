"""The EMA class that training scripts know, with its state in the service."""

from __future__ import annotations

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
from .names import BuffersPolicy, FrozenPolicy
from .opening import RunOpening
from .options import EMAOptions, OnBusy, OnFailure, Resume
from .pushing import PushesSteps
from .reading import AverageReader
from .run_averages import Averages, averages_of, buffers_of, flat_averages
from .scale import LossScaler, ScaleWatch
from .swap import WeightSwap
from .units import ShardedUnits
from .weights import PushedTensors, Weights
from .world import World
from .wrappers import Names


class EMA(PushesSteps, NotCopied):
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
        self._averages = None if averages is None else flat_averages(averages)
        self._buffers = buffers_of(self._averages or (), model) if buffers is None else buffers
        owns_client = isinstance(target, str)
        client = connect(target, reconnect_timeout=reconnect_timeout) if isinstance(target, str) else target
        reader = AverageReader(client, run, model, names, self._buffers, policies)
        opening = RunOpening(client, run, options)
        super().__init__(opening, owns_client, reader, WeightSwap(model, names), ShardedUnits(model))
        self._reader.averages = self._averages or ()

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
