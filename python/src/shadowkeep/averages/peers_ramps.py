"""Decays that follow the age of the training: torchtitan and ultralytics."""

from __future__ import annotations

from typing import Unpack

from .. import wire
from .average import Average
from .checks import count, positive, unit_interval
from .preset import PresetOptions, only, preset


@preset(buffers="copy")
def torchtitan(
    *,
    enable: bool = True,
    decay: float | None = None,
    half_life_fraction: float = 0.05,
    start_step: int = 0,
    step_bias: int = 0,
    update_every_n_steps: int = 1,
    offload_to_cpu: bool = False,
    **common: Unpack[PresetOptions],
) -> Average:
    """torchtitan's EMA in its later form: decay_n = 2^(-1 / (half_life_fraction * n)), n counts firings from 1.

    Args:
        enable: only True.
        decay: a constant decay in its place, 0 to 1.
        half_life_fraction: above 0.
        start_step: the first firing is `update_every_n_steps` after it; until then the shadow is the initial weights.
        step_bias: added to n.
        update_every_n_steps: 1 or above, counted from `start_step`.
        offload_to_cpu: no effect.
        common: see `PresetOptions`.
    """
    only("enable", enable, True, "leave the average out")
    fraction = positive("half_life_fraction", half_life_fraction)
    first = 1 + count("step_bias", step_bias)
    begin, every = count("start_step", start_step), count("update_every_n_steps", update_every_n_steps, least=1)
    schedule: wire.ConstantDecay | wire.HalfLifeFraction = wire.HalfLifeFraction(fraction)
    if decay is not None:
        schedule, first = wire.ConstantDecay(unit_interval("decay", decay)), 0
    return Average(
        schedule=schedule,
        start="INITIAL",
        delay_updates=begin,
        delay_mode="HOLD_UNTIL",
        every=every,
        every_offset=begin % every,
        first_index=first,
        **common,
    )


@preset(buffers="average")
def ultralytics(
    *, decay: float = 0.9999, tau: float = 2000.0, updates: int = 0, **common: Unpack[PresetOptions]
) -> Average:
    """ultralytics' `ModelEMA`: decay_n = decay * (1 - exp(-n / tau)) from n = 1, on the initial weights.

    Args:
        decay: what the decay rises to, 0 to 1.
        tau: above 0.
        updates: updates so far, added to n.
        common: see `PresetOptions`.
    """
    ramp = wire.ExponentialRamp(unit_interval("decay", decay), positive("tau", tau))
    return Average(schedule=ramp, start="INITIAL", first_index=1 + count("updates", updates), **common)
