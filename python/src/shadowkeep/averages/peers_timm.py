"""timm's ModelEmaV2 and ModelEmaV3."""

from __future__ import annotations

from typing import Any, Unpack

from .. import wire
from .average import Average
from .checks import boolean, count, ordered, positive, unit_interval
from .preset import PresetOptions, averaged_buffers, preset
from .shadow_dtype import take_dtype


@preset(buffers="average")
def timm_v2(*, decay: float = 0.9999, device: Any = None, **common: Unpack[PresetOptions]) -> Average:
    """`ModelEmaV2`: a constant decay from the initial weights.

    Args:
        decay: 0 to 1.
        device: no effect.
        common: see `PresetOptions`.
    """
    return Average(schedule=wire.ConstantDecay(unit_interval("decay", decay)), start="INITIAL", **common)


@preset(buffers="average")
def timm_v3(
    *,
    decay: float = 0.9999,
    min_decay: float = 0.0,
    update_after_step: int = 0,
    use_warmup: bool = False,
    warmup_gamma: float = 1.0,
    warmup_power: float = 2 / 3,
    device: Any = None,
    dtype: Any = None,
    stochastic_rounding: bool = True,
    stochastic_rounding_seed: int = 0,
    foreach: bool = True,
    exclude_buffers: bool = False,
    **common: Unpack[PresetOptions],
) -> Average:
    """`ModelEmaV3`, called with `step=` as timm's train.py does (without it the peer ignores warm-up and delay).

    With warm-up: decay_n = clamp(1 - (1 + n / warmup_gamma)^-warmup_power, min_decay, decay); the first one copies.

    Args:
        decay: the decay, or its upper bound, 0 to 1.
        min_decay: its lower bound in the warm-up; without it the peer ignores it.
        update_after_step: updates that are copied before the first one, which is copied, too.
        use_warmup: whether there is a warm-up.
        warmup_gamma: above 0.
        warmup_power: above 0.
        device: no effect.
        dtype: float32 or float64, by name or as a dtype: the precision; None: float32.
        stochastic_rounding: no effect: it is for bfloat16 shadows.
        stochastic_rounding_seed: no effect.
        foreach: no effect.
        exclude_buffers: buffers are copied; without it floating-point ones are averaged.
        common: see `PresetOptions`.
    """
    take_dtype("dtype", dtype, common)
    low, high = unit_interval("min_decay", min_decay), unit_interval("decay", decay)
    gamma, power = positive("warmup_gamma", warmup_gamma), positive("warmup_power", warmup_power)
    schedule: wire.ConstantDecay | wire.InversePower = wire.ConstantDecay(high)
    if boolean("use_warmup", use_warmup):
        ordered("min_decay", low, "decay", high)
        schedule = wire.InversePower(gamma, power, low, high)
    delay = count("update_after_step", update_after_step)
    buffers = averaged_buffers(not boolean("exclude_buffers", exclude_buffers))
    return Average(schedule=schedule, start="FIRST", delay_updates=delay, buffers=buffers, **common)
