"""Which averages an `EMA`'s run has, and what they say of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from ..averages import Average, PrecisionName
from ..layout import TensorSpec
from .dtypes import average_precision
from .names import BuffersPolicy

DECAY_DEFAULT = 0.999

# As the presets return them: one average, or several.
Averages = Average | Iterable[Average | Iterable[Average]]


def flat_averages(averages: Averages) -> list[Average]:
    """Return the averages of a list whose entries are averages or lists of them. Raises TypeError for other things."""
    if isinstance(averages, Average):
        return [averages]
    flat: list[Average] = []
    for entry in averages:
        if not isinstance(entry, Average) and (isinstance(entry, str) or not isinstance(entry, Iterable)):
            raise TypeError(f"averages must be made by shadowkeep.averages, got {entry!r}")
        flat += flat_averages(entry)
    if not flat:
        raise ValueError("averages is empty: a run has 1 to 16")
    return flat


def textbook_average(decay: float | None, precision: PrecisionName = "F32") -> Average:
    """Return the average of the class that everybody copies. Raises ValueError for a decay that is none."""
    return Average.ema("ema", decay=DECAY_DEFAULT if decay is None else decay, start="INITIAL", precision=precision)


def averages_of(given: list[Average] | None, decay: float | None, specs: Mapping[str, TensorSpec]) -> list[Average]:
    """Return the averages of a run: those that are given, or the textbook class's.

    A RuntimeWarning where given ones take float64 weights in float32, as their peers do not. They are not made F64 in
    silence: a run that exists has its precision.
    """
    if given is None:
        return [textbook_average(decay, average_precision(specs.values()))]
    wide = [name for name, spec in specs.items() if average_precision([spec]) == "F64"]
    coarse = [rule.name for rule in given if rule.precision == "F32" and any(map(rule.takes, wide))]
    if coarse:
        warnings.warn(
            f"float64 weights (as {wide[0]!r}) are averaged by {', '.join(map(repr, coarse))} in float32: "
            'precision="F64" keeps their own dtype, for 8 bytes a parameter',
            RuntimeWarning,
            stacklevel=3,
        )
    return given


def buffers_of(averages: Sequence[Average], model: nn.Module) -> BuffersPolicy:
    """Return what averages say becomes of buffers; a RuntimeWarning where they differ, as a run does one for all.

    Nothing is said where the model has no floating-point buffers.
    """
    said = {average.buffers: average.name for average in averages if average.buffers is not None}
    if len(said) == 2 and any(buffer.is_floating_point() for buffer in model.buffers()):
        warnings.warn(
            f"average {said['average']!r} stands for a peer that averages floating-point buffers, {said['copy']!r} for "
            'one that copies them, and a run does one: they are copied. Say which with buffers="copy" or "average"',
            RuntimeWarning,
            stacklevel=3,
        )
    return "average" if said.keys() == {"average"} else "copy"
