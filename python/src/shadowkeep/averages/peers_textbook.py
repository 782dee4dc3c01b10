"""Constant decays by the names of the textbook, Keras and optax."""

from __future__ import annotations

from typing import Any, Unpack

from .. import wire
from .average import Average
from .checks import boolean, unit_interval
from .preset import PresetOptions, only, preset
from .shadow_dtype import take_dtype


@preset(buffers="copy")
def textbook(*, decay: float, **common: Unpack[PresetOptions]) -> Average:
    """The class with `register` and `update`: s = decay * s + (1 - decay) * p, from the initial weights.

    Args:
        decay: 0 to 1.
        common: see `PresetOptions`.
    """
    return Average(schedule=wire.ConstantDecay(unit_interval("decay", decay)), start="INITIAL", **common)


@preset(buffers="copy")
def keras(
    *, ema_momentum: float = 0.99, ema_overwrite_frequency: int | None = None, **common: Unpack[PresetOptions]
) -> Average:
    """Keras optimizers with `use_ema=True`: s = momentum * s + (1 - momentum) * p; the first update is copied.

    Args:
        ema_momentum: the decay, 0 to 1.
        ema_overwrite_frequency: only None: the service never writes into the model.
        common: see `PresetOptions`.
    """
    only("ema_overwrite_frequency", ema_overwrite_frequency, None, "load the shadow into the model in the trainer")
    decay = unit_interval("ema_momentum", ema_momentum)
    return Average(schedule=wire.ConstantDecay(decay), start="FIRST", **common)


@preset(buffers="copy")
def optax(
    *, decay: float, debias: bool = True, accumulator_dtype: Any = None, **common: Unpack[PresetOptions]
) -> Average:
    """`optax.ema` of the weights: m = decay * m + (1 - decay) * p from zeros, read as m / (1 - decay^k).

    Args:
        decay: 0 to 1, below 1 with `debias`.
        debias: divide by 1 - decay^k; without it the shadow grows from zero.
        accumulator_dtype: float32 or float64, by name or as a dtype: the precision; None: float32.
        common: see `PresetOptions`.
    """
    beta = unit_interval("decay", decay)
    if boolean("debias", debias) and beta == 1:
        raise ValueError("decay must be below 1 with debias, got 1")
    take_dtype("accumulator_dtype", accumulator_dtype, common)
    return Average(schedule=wire.ConstantDecay(beta), start="ZEROS", bias_correction=debias, **common)
