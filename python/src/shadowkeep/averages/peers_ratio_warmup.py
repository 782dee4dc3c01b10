"""The family of TensorFlow's warm-up, decay_n = min(decay, (1 + n) / (10 + n)): torch_ema, diffusers, TensorFlow."""

from __future__ import annotations

from typing import Any, Unpack

from .. import wire
from .average import Average
from .checks import boolean, count, ordered, positive, unit_interval
from .preset import PresetOptions, preset


@preset(buffers="copy")
def fadel_torch_ema(*, decay: float, use_num_updates: bool = True, **common: Unpack[PresetOptions]) -> Average:
    """torch_ema's `ExponentialMovingAverage`: the warm-up from n = 1 on the initial weights.

    Args:
        decay: 0 to 1.
        use_num_updates: False: no warm-up, the decay is constant.
        common: see `PresetOptions`.
    """
    high = unit_interval("decay", decay)
    if not boolean("use_num_updates", use_num_updates):
        return Average(schedule=wire.ConstantDecay(high), start="INITIAL", **common)
    return Average(schedule=wire.RatioWarmup(decay=high), start="INITIAL", first_index=1, **common)


@preset(buffers="copy")
def diffusers(
    *,
    decay: float = 0.9999,
    min_decay: float = 0.0,
    update_after_step: int = 0,
    use_ema_warmup: bool = False,
    inv_gamma: float = 1.0,
    power: float = 2 / 3,
    foreach: bool = False,
    model_cls: Any = None,
    model_config: Any = None,
    **common: Unpack[PresetOptions],
) -> Average:
    """diffusers' `EMAModel`: copies, then one of two warm-ups; there is none without.

    decay_n = clamp((1 + n) / (10 + n), min_decay, decay), or clamp(1 - (1 + n / inv_gamma)^-power, min_decay, decay).

    Args:
        decay: upper bound of the decay, 0 to 1.
        min_decay: its lower bound, once the copies are over.
        update_after_step: updates that are copied before the first one, which is copied, too.
        use_ema_warmup: the second formula in place of the first.
        inv_gamma: of the second one, above 0.
        power: of the second one, above 0.
        foreach: no effect.
        model_cls: no effect.
        model_config: no effect.
        common: see `PresetOptions`.
    """
    low, high = unit_interval("min_decay", min_decay), unit_interval("decay", decay)
    ordered("min_decay", low, "decay", high)
    gamma, exponent = positive("inv_gamma", inv_gamma), positive("power", power)
    schedule: wire.RatioWarmup | wire.InversePower = wire.RatioWarmup(high, low)
    if boolean("use_ema_warmup", use_ema_warmup):
        schedule = wire.InversePower(gamma, exponent, low, high)
    delay = count("update_after_step", update_after_step)
    return Average(schedule=schedule, start="FIRST", delay_updates=delay, **common)


@preset(buffers="copy")
def tensorflow(
    *,
    decay: float,
    num_updates: int | None = None,
    zero_debias: bool = False,
    **common: Unpack[PresetOptions],
) -> Average:
    """`tf.train.ExponentialMovingAverage`.

    Args:
        decay: 0 to 1.
        num_updates: the value of that variable at the first `apply`, from where it goes up by one each time: with the
            warm-up. None: a constant decay.
        zero_debias: from zeros, divided by 1 - decay^k, in place of the initial weights. Not with `num_updates`.
        common: see `PresetOptions`.
    """
    high = unit_interval("decay", decay)
    if boolean("zero_debias", zero_debias):
        if num_updates is not None:
            raise ValueError(f"num_updates={num_updates} cannot be honoured with zero_debias: leave one of them out")
        if high == 1:
            raise ValueError("decay must be below 1 with zero_debias, got 1")
        return Average(schedule=wire.ConstantDecay(high), start="ZEROS", bias_correction=True, **common)
    if num_updates is None:
        return Average(schedule=wire.ConstantDecay(high), start="INITIAL", **common)
    first = count("num_updates", num_updates)
    return Average(schedule=wire.RatioWarmup(decay=high), start="INITIAL", first_index=first, **common)
