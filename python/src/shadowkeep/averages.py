"""The averages of a run: named rules of the form `shadow += w_k * (weights - shadow)` at the k-th update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from . import wire

StartName = Literal["ZEROS", "INITIAL", "FIRST"]
PrecisionName = Literal["F32", "F64"]


@dataclass(frozen=True, slots=True)
class Average:
    """A named rule of a run; make one with `Average.ema` or `Average.mean`.

    Attributes:
        name: unique in the run, `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`.
        schedule: how w_k comes about.
        start: what the shadow is before the first update: zeros, the initial push, or the first update itself.
        precision: dtype of the shadow and of its arithmetic.
    """

    name: str
    schedule: wire.ConstantDecay | wire.Mean
    start: StartName
    precision: PrecisionName = "F32"

    @classmethod
    def ema(cls, name: str, *, decay: float, start: StartName = "INITIAL", precision: PrecisionName = "F32") -> Self:
        """Exponential moving average: shadow = decay * shadow + (1 - decay) * weights, 0 <= decay <= 1.

        `start="INITIAL"` needs `Run.push_initial` before the first update.
        """
        if not 0 <= decay <= 1:
            raise ValueError(f"decay of average {name!r} must be from 0 to 1, got {decay}")
        return cls(name, wire.ConstantDecay(float(decay)), start, precision)

    @classmethod
    def mean(cls, name: str, *, precision: PrecisionName = "F32") -> Self:
        """Plain average of all updates (stochastic weight averaging): w_k = 1 / k."""
        return cls(name, wire.Mean(), "FIRST", precision)

    def to_message(self) -> wire.Average:
        """Return the rule as it travels. Raises KeyError for a start or precision that does not exist."""
        constant = self.schedule if isinstance(self.schedule, wire.ConstantDecay) else None
        mean = self.schedule if isinstance(self.schedule, wire.Mean) else None
        return wire.Average(self.name, wire.Start[self.start], wire.DType[self.precision], constant=constant, mean=mean)
