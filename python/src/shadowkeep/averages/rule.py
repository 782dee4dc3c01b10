"""The fields of an average, what they may be, and how they travel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from .. import wire
from ..layout import name_matcher
from . import checks
from .table import TABLE, within

StartName = Literal["ZEROS", "INITIAL", "FIRST"]
PrecisionName = Literal["F32", "F64"]
Schedule = (
    wire.ConstantDecay
    | wire.Mean
    | wire.HalfLife
    | wire.RatioWarmup
    | wire.InversePower
    | wire.ExponentialRamp
    | wire.HalfLifeFraction
    | wire.AnnealedMomentum
    | wire.Cosine
    | wire.PowerFunction
    | wire.HalfLifeRampUp
)

_FIELD_OF: dict[type[Any], str] = {
    wire.ConstantDecay: "constant",
    wire.Mean: "mean",
    wire.HalfLife: "half_life",
    wire.RatioWarmup: "ratio_warmup",
    wire.InversePower: "inverse_power",
    wire.ExponentialRamp: "exponential_ramp",
    wire.HalfLifeFraction: "half_life_fraction",
    wire.AnnealedMomentum: "annealed_momentum",
    wire.Cosine: "cosine",
    wire.PowerFunction: "power_function",
    wire.HalfLifeRampUp: "half_life_ramp_up",
}


BuffersName = Literal["copy", "average"]
DelayModeName = Literal["COPY_UNTIL", "HOLD_UNTIL", "COPY_EACH_UNTIL"]


class AverageOptions(TypedDict, total=False):
    """What every rule can be told; `Average` says what each does."""

    start: StartName
    precision: PrecisionName
    delay_updates: int
    delay_mode: DelayModeName
    every: int
    every_offset: int
    decay_unit: Literal["PER_UPDATE", "PER_STEP"]
    first_index: int
    index_unit: Literal["UPDATES", "PUSHES"]
    bias_correction: bool
    include: Sequence[str]
    exclude: Sequence[str]
    preset: str
    buffers: BuffersName | None


@dataclass(frozen=True, slots=True)
class Rule:
    """The fields of an average; `Average` explains them."""

    name: str
    schedule: Schedule
    start: StartName = "FIRST"
    precision: PrecisionName = "F32"
    delay_updates: int = 0
    delay_mode: DelayModeName = "COPY_UNTIL"
    every: int = 1
    every_offset: int = 0
    decay_unit: Literal["PER_UPDATE", "PER_STEP"] = "PER_UPDATE"
    first_index: int = 0
    index_unit: Literal["UPDATES", "PUSHES"] = "UPDATES"
    bias_correction: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    preset: str = ""
    buffers: BuffersName | None = None

    def __post_init__(self) -> None:
        """Check what all rules share. Raises ValueError or TypeError, which names the field and its bound."""
        for option, bound in TABLE["counts"].items():
            within(option, getattr(self, option), bound)
        for option, names in TABLE["words"].items():
            checks.one_of(option, getattr(self, option), names)
        if self.every_offset >= self.every:
            raise ValueError(f"every_offset must be below every ({self.every}), got {self.every_offset}")
        if self.bias_correction:
            self._check_bias_correction()
        for field in ("include", "exclude"):
            object.__setattr__(self, field, checks.patterns(field, getattr(self, field)))

    def _check_bias_correction(self) -> None:
        kind = _FIELD_OF[type(self.schedule)]
        is_correctable = TABLE["schedules"][kind].get("is_correctable", False)
        decay = getattr(self.schedule, "decay", None)
        if not is_correctable or decay == 1:
            found = f"decay {decay}" if is_correctable else kind
            needs = f"it needs a half_life, or a constant decay below 1, got {found}"
            raise ValueError(f"bias_correction must be left out: {needs}")
        if self.start == "INITIAL":
            raise ValueError("bias_correction must be left out: it needs a start from ZEROS or FIRST, got INITIAL")

    def takes(self, tensor: str) -> bool:
        """Whether the filters let a tensor of that name be averaged."""
        included = not self.include or any(name_matcher(pattern).fullmatch(tensor) for pattern in self.include)
        return included and not any(name_matcher(pattern).fullmatch(tensor) for pattern in self.exclude)

    def to_message(self) -> wire.Average:
        """Return the rule as it travels."""
        mode = wire.DelayMode[self.delay_mode]
        schedule: dict[str, Any] = {_FIELD_OF[type(self.schedule)]: self.schedule}
        return wire.Average(
            self.name,
            wire.Start[self.start],
            wire.DType[self.precision],
            delay_updates=self.delay_updates,
            # Without a delay there is one way to say so: rules are compared field by field.
            delay_mode=mode if self.delay_updates else wire.DelayMode.COPY_UNTIL,
            every=self.every,
            decay_unit=wire.DecayUnit[self.decay_unit],
            include=list(self.include),
            exclude=list(self.exclude),
            preset=self.preset,
            bias_correction=self.bias_correction,
            first_index=self.first_index,
            index_unit=wire.IndexUnit[self.index_unit],
            every_offset=self.every_offset,
            **schedule,
        )
