"""What a run is made of: tensors, policies, boxes, averages with their schedules, snapshots, versions.

Field meanings are in the proto's comments.
"""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Message, field
from .enums import DecayUnit, DelayMode, DType, IndexUnit, Policy, Start


@dataclass(slots=True)
class Tensor(Message):
    """One tensor of a layout."""

    name: str = field(1, "string")
    dtype: DType = field(2, "enum", DType)
    shape: list[int] = field(3, "uint64", repeated=True)
    policy: Policy = field(4, "enum", Policy)


@dataclass(slots=True)
class PolicyRule(Message):
    """The policy of the tensors whose names match."""

    pattern: str = field(1, "string")
    policy: Policy = field(2, "enum", Policy)


@dataclass(slots=True)
class Box(Message):
    """A rectangle of a tensor."""

    tensor: int = field(1, "uint64")
    offset: list[int] = field(2, "uint64", repeated=True)
    extent: list[int] = field(3, "uint64", repeated=True)
    replica_group: int = field(4, "uint64")


@dataclass(slots=True)
class ConstantDecay(Message):
    """w = 1 - decay."""

    decay: float = field(1, "double")


@dataclass(slots=True)
class Mean(Message):
    """w_k = 1 / k."""


@dataclass(slots=True)
class HalfLife(Message):
    """w = 1 - 2^(-1 / updates)."""

    updates: float = field(1, "double")


@dataclass(slots=True)
class RatioWarmup(Message):
    """decay_n = max(decay_min, min(decay, (1 + n) / (10 + n)))."""

    decay: float = field(1, "double")
    decay_min: float = field(2, "double")


@dataclass(slots=True)
class InversePower(Message):
    """decay_n = clamp(1 - (1 + n / inv_gamma)^-power, decay_min, decay_max)."""

    inv_gamma: float = field(1, "double")
    power: float = field(2, "double")
    decay_min: float = field(3, "double")
    decay_max: float = field(4, "double")


@dataclass(slots=True)
class ExponentialRamp(Message):
    """decay_n = decay * (1 - exp(-n / tau))."""

    decay: float = field(1, "double")
    tau: float = field(2, "double")


@dataclass(slots=True)
class HalfLifeFraction(Message):
    """decay_n = 2^(-1 / (fraction * n))."""

    fraction: float = field(1, "double")


@dataclass(slots=True)
class AnnealedMomentum(Message):
    """w_n = max(momentum, gamma / (gamma + n))."""

    momentum: float = field(1, "double")
    gamma: float = field(2, "double")


@dataclass(slots=True)
class Cosine(Message):
    """decay_n = 1 - (1 - decay) * (cos(pi n / steps) + 1) / 2."""

    decay: float = field(1, "double")
    steps: int = field(2, "uint64")


@dataclass(slots=True)
class PowerFunction(Message):
    """w_t = 1 - (1 - delta / t)^(gamma + 1); one of the two."""

    gamma: float | None = field(1, "double", optional=True)
    sigma_rel: float | None = field(2, "double", optional=True)


@dataclass(slots=True)
class HalfLifeRampUp(Message):
    """Half-life min(half_life, ratio * t); half_life 0: without bound."""

    half_life: float = field(1, "double")
    ratio: float = field(2, "double")


@dataclass(slots=True)
class Average(Message):
    """A named rule; exactly one schedule is set."""

    name: str = field(1, "string")
    start: Start = field(2, "enum", Start)
    precision: DType = field(3, "enum", DType)
    delay_updates: int = field(4, "uint64")
    delay_mode: DelayMode = field(5, "enum", DelayMode)
    every: int | None = field(6, "uint64", optional=True)
    decay_unit: DecayUnit = field(7, "enum", DecayUnit)
    include: list[str] = field(8, "string", repeated=True)
    exclude: list[str] = field(9, "string", repeated=True)
    preset: str = field(10, "string")
    constant: ConstantDecay | None = field(20, "message", ConstantDecay)
    mean: Mean | None = field(21, "message", Mean)
    half_life: HalfLife | None = field(22, "message", HalfLife)
    ratio_warmup: RatioWarmup | None = field(23, "message", RatioWarmup)
    inverse_power: InversePower | None = field(24, "message", InversePower)
    exponential_ramp: ExponentialRamp | None = field(25, "message", ExponentialRamp)
    half_life_fraction: HalfLifeFraction | None = field(26, "message", HalfLifeFraction)
    annealed_momentum: AnnealedMomentum | None = field(27, "message", AnnealedMomentum)
    cosine: Cosine | None = field(28, "message", Cosine)
    power_function: PowerFunction | None = field(29, "message", PowerFunction)
    half_life_ramp_up: HalfLifeRampUp | None = field(30, "message", HalfLifeRampUp)
    bias_correction: bool = field(31, "bool")
    first_index: int = field(32, "uint64")
    index_unit: IndexUnit = field(33, "enum", IndexUnit)
    every_offset: int = field(34, "uint64")


@dataclass(slots=True)
class Snapshots(Message):
    """Which states of a run's power-function averages are kept."""

    every_steps: int = field(1, "uint64")
    count_max: int = field(2, "uint64")
    bytes_max: int = field(3, "uint64")
    dtype: DType = field(4, "enum", DType)


@dataclass(slots=True)
class Retention(Message):
    """Which older versions of a run are kept."""

    every_steps: int = field(1, "uint64")
    count_max: int = field(2, "uint64")


@dataclass(slots=True)
class Movement(Message):
    """How the last fold moved an average, by a sample of its elements."""

    distance_rel: float | None = field(1, "double", optional=True)
    changed_share: float = field(2, "double")
