"""mmengine's EMAHook with its three averaged models."""

from __future__ import annotations

from typing import Any, Literal, Unpack

from .. import wire
from .average import Average
from .checks import boolean, count, positive, unit_interval
from .preset import PresetOptions, averaged_buffers, preset
from .rule import Schedule

EmaType = Literal["ema", "annealing", "swa"]

MOMENTUM_DEFAULT = 0.0002
GAMMA_DEFAULT = 100


@preset(buffers="copy")
def mmengine(
    *,
    type: EmaType = "ema",
    momentum: float | None = None,
    gamma: float | None = None,
    interval: int = 1,
    device: Any = None,
    update_buffers: bool = False,
    begin_iter: int = 0,
    **common: Unpack[PresetOptions],
) -> Average:
    """mmengine's `EMAHook`; the first update is copied. w is the peer's momentum, 1 - decay.

    Args:
        type: "ema" (ExponentialMovingAverage): w = momentum. "annealing" (MomentumAnnealingEMA): w_n = max(momentum,
            gamma / (gamma + n)), n counts all updates from 0. "swa" (StochasticWeightAverage): the plain average.
        momentum: 0 to 1, 0.0002 when it is not given; not of "swa".
        gamma: above 0, 100 when it is not given; of "annealing" only.
        interval: 1 or above: updates between two folds.
        device: no effect.
        update_buffers: floating-point buffers are averaged; without it all are copied.
        begin_iter: the iteration, from 1, of the first update that counts; those before it are copied.
        common: see `PresetOptions`.
    """
    if type not in ("ema", "annealing", "swa"):
        raise ValueError(f"type must be ema, annealing or swa, got {type!r}")
    if momentum is not None and type == "swa":
        raise ValueError(f"momentum must be left out with type=swa, which has none, got {momentum}")
    if gamma is not None and type != "annealing":
        raise ValueError(f"gamma must be left out with type={type}, which has none, got {gamma}")
    weight = unit_interval("momentum", MOMENTUM_DEFAULT if momentum is None else momentum)
    scale = positive("gamma", GAMMA_DEFAULT if gamma is None else gamma)
    schedules: dict[EmaType, Schedule] = {
        "ema": wire.ConstantDecay(1 - weight),
        "annealing": wire.AnnealedMomentum(weight, scale),
        "swa": wire.Mean(),
    }
    first, every = max(1, count("begin_iter", begin_iter)), count("interval", interval, least=1)
    return Average(
        schedule=schedules[type],
        start="FIRST",
        delay_updates=first - 1,
        delay_mode="COPY_EACH_UNTIL",
        every=every,
        every_offset=first % every,
        index_unit="PUSHES" if type == "annealing" else "UPDATES",
        buffers=averaged_buffers(boolean("update_buffers", update_buffers)),
        **common,
    )
