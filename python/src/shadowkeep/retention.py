"""Older versions that a run keeps, for rewinding it and for reads of exact steps."""

from __future__ import annotations

from typing import NamedTuple

from . import wire
from .averages.checks import count

COUNT_MAX = 64


class Retention(NamedTuple):
    """Which older versions a run keeps in memory, each at the cost of what has changed since.

    Attributes:
        every_steps: kept are the versions whose step is a multiple of it.
        count_max: the newest so many of them, 1 to 64; fewer when a new step needs their memory.
    """

    every_steps: int
    count_max: int

    def to_message(self) -> wire.Retention:
        """Return it as it travels. Raises ValueError or TypeError, which names the field and its bound."""
        if count("count_max", self.count_max, 1) > COUNT_MAX:
            raise ValueError(f"count_max must be from 1 to {COUNT_MAX}, got {self.count_max}")
        return wire.Retention(count("every_steps", self.every_steps, least=1), self.count_max)
