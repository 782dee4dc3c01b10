"""Options of a run: each stands here once, with its default, its bounds and what it does.

`Client.open_run` and `shadowkeep.torch.EMA` name them again as keywords, for editors; tests/test_options.py compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from .averages.checks import count, member, not_negative, step_number
from .boxes import Box
from .dtypes import FloatName, float_dtype
from .layout import PolicyName
from .retention import Retention
from .snapshots import Snapshots
from .wire import NonFinite

RECONNECT_SECONDS_DEFAULT = 60.0
WRITERS_MAX = 1024

NonFiniteName = Literal["REJECT_STEP", "SKIP_TENSOR", "ACCEPT"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What whoever opens a run may say.

    Attributes:
        non_finite: what is done with a step that has infinities or NaN in averaged tensors: nothing is folded
            (REJECT_STEP, the step is counted in `rejected_steps`), those tensors keep their averages (SKIP_TENSOR), or
            they are folded as they are (ACCEPT).
        snapshots: states of the power-function averages to keep, for `get_shadow` with a width.
        wire_dtype: dtype in which averaged tensors travel. "BF16" halves the bytes of float32 weights, and of an `EMA`
            the time of the snapshot and its memory; the average itself stays in float32.
        incarnation: names this life of the trainer, the same in all its processes. A new id fences every older one, so
            that a process that was thought dead changes nothing. None: an `EMA` makes a new one; with `open_run`
            nobody is fenced, and a writer that is still connected is an error (WRITER_BUSY).
        retain: older versions for the service to keep, to rewind to and for reads of exact steps. None: none of a new
            run; what an existing one has.
        reconnect_timeout: seconds for which a connection that broke, or a service that is not up yet, is tried again
            before the failure is raised or, of an `EMA`'s step, what `on_failure` says is done. None: the client's.

    Raises:
        ValueError, TypeError: an option is out of its bounds, which the message names.
    """

    non_finite: NonFiniteName = "REJECT_STEP"
    snapshots: Snapshots | None = None
    wire_dtype: FloatName | None = None
    incarnation: str | None = None
    retain: Retention | None = None
    reconnect_timeout: float | None = None

    def __post_init__(self) -> None:
        member("non_finite", self.non_finite, NonFinite)
        float_dtype(self.wire_dtype, "wire_dtype")
        if self.reconnect_timeout is not None:
            not_negative("reconnect_timeout", self.reconnect_timeout)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Take the options from a function's arguments, or from other options, which may have more names."""
        return cls(**{field.name: given[field.name] for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class OpenRunOptions(RunOptions):
    """Keyword arguments of `Client.open_run`; those of `RunOptions`, too.

    Attributes:
        policies: what is done with tensors, by name pattern, as {"*.running_*": "COPY", "backbone.*": "COPY_ONCE"}, for
            those whose `TensorSpec` does not say. "*" matches any run of characters; the last pattern that matches
            wins; one that matches no tensor is an error.
        writers: processes of this trainer that push, 1 to 1,024.
        writer: the number of this one, from 0 on.
        boxes: what this process has of the tensors (`Box`), in the order in which its arrays come. None: the whole
            layout where there is one writer, nothing where there are several.
        resume_step: rewind to the newest retained version at or below this step, and undo what came after it. Needs a
            new incarnation.
        trainer_step: the step of the checkpoint that the trainer has restored. Below the committed one it is an error
            (TRAINER_BEHIND): go on without it, or rewind.
    """

    policies: Mapping[str, PolicyName] | None = None
    writers: int = 1
    writer: int = 0
    boxes: Sequence[Box] | None = None
    resume_step: int | None = None
    trainer_step: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        writers, writer = self.writers, self.writer
        if not 0 <= count("writer", writer) < count("writers", writers, least=1) <= WRITERS_MAX:
            raise ValueError(f"writers must be from 1 to {WRITERS_MAX} and writer below it, got {writers} and {writer}")
        for name in ("resume_step", "trainer_step"):
            step = getattr(self, name)
            if step is not None:
                # A step may be numpy's, or a tensor that goes on to change.
                object.__setattr__(self, name, step_number(name, step))
