"""Snapshots of a run's power-function averages, from which any width can be had after the training."""

from __future__ import annotations

from dataclasses import dataclass

from . import wire
from .averages.checks import count
from .dtypes import FloatName, float_dtype

COUNT_LEAST, COUNT_MAX = 2, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """Which states of its power-function averages a run keeps; `Client.get_shadow(sigma_rel=...)` combines them.

    Attributes:
        every_steps: one is taken at each commit that reaches the next multiple of it, in the trainer's steps.
        count_max: of each average, 2 to 256. When there are as many, every second one goes and `every_steps` doubles.
        bytes_max: of all together; 0: what the service's memory leaves.
        dtype: F32, F64, BF16 or F16.
    """

    every_steps: int
    count_max: int
    bytes_max: int = 0
    dtype: FloatName = "F32"

    def to_message(self) -> wire.Snapshots:
        """Return them as they travel. Raises ValueError or TypeError, which names the field and its bound."""
        if count("count_max", self.count_max, COUNT_LEAST) > COUNT_MAX:
            raise ValueError(f"count_max must be from {COUNT_LEAST} to {COUNT_MAX}, got {self.count_max}")
        return wire.Snapshots(
            count("every_steps", self.every_steps, least=1),
            self.count_max,
            count("bytes_max", self.bytes_max),
            float_dtype(self.dtype),
        )
