"""Bounds of options. Every error names the option, its value and the bound; a preset puts its own name before it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, TypeVar

# The largest integer that every double holds exactly, and the service's bound of counts.
COUNT_MAX = (1 << 53) - 1

_Enum = TypeVar("_Enum", bound=IntEnum)


def number(option: str, value: Any) -> float:
    """Return a finite number. Raises TypeError for what is no number, ValueError for infinities and NaN."""
    # numpy's and torch's scalars are numbers, too.
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise TypeError(f"{option} must be a number, got {value!r}")
    checked = float(value)
    if not math.isfinite(checked):
        raise ValueError(f"{option} must be finite, got {value}")
    return checked


def unit_interval(option: str, value: Any) -> float:
    """Return a number from 0 to 1."""
    checked = number(option, value)
    if not 0 <= checked <= 1:
        raise ValueError(f"{option} must be from 0 to 1, got {value}")
    return checked


def positive(option: str, value: Any) -> float:
    """Return a number above 0."""
    checked = number(option, value)
    if checked <= 0:
        raise ValueError(f"{option} must be above 0, got {value}")
    return checked


def not_negative(option: str, value: Any) -> float:
    """Return a number that is 0 or above."""
    checked = number(option, value)
    if checked < 0:
        raise ValueError(f"{option} must be 0 or above, got {value}")
    return checked


def count(option: str, value: Any, least: int = 0) -> int:
    """Return an integer of at least `least`; 5.0 is one."""
    checked = number(option, value)
    if not checked.is_integer():
        raise TypeError(f"{option} must be an integer, got {value}")
    if not least <= checked <= COUNT_MAX:
        raise ValueError(f"{option} must be from {least} to {COUNT_MAX}, got {value}")
    return int(checked)


def step_number(option: str, value: Any) -> int:
    """Return a step as a plain int, whatever later becomes of `value`, which may be numpy's or a tensor."""
    # A bool is an int to Python, and never a step.
    is_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
    try:
        checked = None if is_bool else operator.index(value)
    except TypeError:
        checked = None
    if checked is None:
        raise TypeError(f"{option} must be an integer, got {value!r}")
    if not 0 <= checked <= COUNT_MAX:
        raise ValueError(f"{option} must be from 0 to {COUNT_MAX}, got {checked}")
    return checked


def boolean(option: str, value: Any) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{option} must be true or false, got {value!r}")
    return value


def ordered(low: str, low_value: float, high: str, high_value: float) -> None:
    """Raise ValueError when the lower of two bounds is above the higher one."""
    if low_value > high_value:
        raise ValueError(f"{low} must not be above {high} ({high_value}), got {low_value}")


def one_of(option: str, name: Any, names: Sequence[str]) -> None:
    """Raise ValueError, which lists the names there are, unless it is one of them."""
    if name not in names:
        raise ValueError(f"{option} must be one of {', '.join(names)}, got {name!r}")


def member(option: str, name: Any, enum: type[_Enum]) -> _Enum:
    """Return the member of that name. Raises ValueError, which lists those there are."""
    if name not in enum.__members__ or enum[name] == 0:
        names = ", ".join(member.name for member in enum if member != 0)
        raise ValueError(f"{option} must be one of {names}, got {name!r}")
    return enum[name]


def patterns(option: str, value: Any) -> tuple[str, ...]:
    """Return name patterns; a single string is refused, since it would be taken for its letters."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{option} must be a list of name patterns, got {value!r}")
    checked = tuple(value)
    for pattern in checked:
        if not isinstance(pattern, str):
            raise TypeError(f"{option} must hold strings, got {pattern!r}")
    return checked
