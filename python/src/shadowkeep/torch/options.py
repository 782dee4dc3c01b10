"""Options of an `EMA`: each stands here once, with its default, its bounds and what it does.

`EMA` names them again as keywords, for editors, and `EMAKeywords` for the integrations, which hand them through;
tests/test_torch_options.py compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from ..averages.checks import one_of
from ..dtypes import FloatName
from ..layout import PolicyName
from ..options import RECONNECT_SECONDS_DEFAULT, NonFiniteName, RunOptions
from ..retention import Retention
from ..snapshots import Snapshots
from .names import BuffersPolicy, FrozenPolicy
from .run_averages import Averages, textbook_average
from .scale import LossScaler
from .weights import Weights
from .world import World
from .wrappers import Names

OnBusy = Literal["wait", "skip"]
OnFailure = Literal["warn", "raise"]
Resume = Literal["step", "continue", "refuse", "rewind"]


@dataclass(frozen=True, kw_only=True)
class EMAOptions(RunOptions):
    """Keyword arguments of `EMA`; those of `shadowkeep.options.RunOptions`, too.

    Attributes:
        decay: 0 to 1, of one average named "ema"; 0.999 when there are no `averages`.
        averages: what `shadowkeep.averages` makes, one or a list of them; all are fed by one push.
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
        world: the processes that push, and this one's place. None: all of torch.distributed where it is initialised
            when `register()` is called, else this one. See `torchrun_world`.
        resume: what `register(step)` does in a run whose committed step is not the trainer's. "step": a training that
            begins (step 0) is refused; one that comes back from before the committed step goes on, and does not push
            the steps up to it again; one that comes back from after it is refused. "continue": it goes on whatever the
            run has. "rewind": to the newest retained version at or below `step` (see `retain`), later ones are undone.
            "refuse": any difference is an error. What is not refused is warned about: a run without commits, too, of
            which a restored trainer's averages begin at `step`. Steps are compared, not weights: whoever restores
            other weights under the same number has to name another run.
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
        reconnect_timeout: as in `RunOptions`, of an `EMA` by itself: a client's is not asked.
    """

    decay: float | None = None
    averages: Averages | None = None
    on_busy: OnBusy = "wait"
    buffers: BuffersPolicy | None = None
    frozen: FrozenPolicy = "once"
    policies: Mapping[str, PolicyName] | None = None
    names: Names | None = None
    weights: Weights | None = None
    scaler: LossScaler | None = None
    replica: bool | None = None
    world: World | None = None
    resume: Resume = "step"
    on_failure: OnFailure = "warn"
    reconnect_timeout: float = RECONNECT_SECONDS_DEFAULT

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("on_busy", self.on_busy, get_args(OnBusy))
        one_of("on_failure", self.on_failure, get_args(OnFailure))
        one_of("resume", self.resume, get_args(Resume))
        one_of("frozen", self.frozen, get_args(FrozenPolicy))
        if self.buffers is not None:
            one_of("buffers", self.buffers, get_args(BuffersPolicy))
        textbook_average(self.decay)
        if self.decay is not None and self.averages is not None:
            raise ValueError(
                f"decay ({self.decay}) is that of an average of its own: it and averages exclude each other"
            )


class EMAKeywords(TypedDict, total=False):
    """Those of `EMAOptions` that an integration takes: it knows the scaler itself, and which processes push."""

    decay: float | None
    averages: Averages | None
    wire_dtype: FloatName | None
    on_busy: OnBusy
    on_failure: OnFailure
    buffers: BuffersPolicy | None
    frozen: FrozenPolicy
    policies: Mapping[str, PolicyName] | None
    names: Names | None
    weights: Weights | None
    non_finite: NonFiniteName
    snapshots: Snapshots | None
    incarnation: str | None
    world: World | None
    resume: Resume
    retain: Retention | None
    reconnect_timeout: float
