"""EDM2's power-function averages and its traditional one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

from .. import wire
from .average import Average
from .checks import count, number, positive
from .preset import PresetOptions, number_text, preset
from .table import WIDTH, within

STDS_DEFAULT = (0.05, 0.1)
RAMPUP_RATIO_DEFAULT = 0.09


@preset(buffers="copy")
def edm2(
    *,
    stds: Sequence[float] | None = None,
    halflife_Mimg: float = math.inf,  # noqa: N803 (the peer's own name)
    rampup_ratio: float | None = RAMPUP_RATIO_DEFAULT,
    batch_size: int | None = None,
    **common: Unpack[PresetOptions],
) -> list[Average]:
    """EDM2's `PowerFunctionEMA` (stds), or its `TraditionalEMA` when `batch_size` is given. Both count steps.

    The power function's w = 1 - (1 - delta / t)^(gamma + 1), gamma by the relative width; one average for each, named
    NAME-0.05, NAME-0.1 (NAME alone when it is the only one). The traditional w = 1 - 2^(-delta / min(half-life,
    ratio * t)), from the initial weights.

    Args:
        stds: relative widths, each above 0 and at most 1 / sqrt(12); 0.05 and 0.1 when nothing is given.
        halflife_Mimg: half-life in millions of images; inf: without bound.
        rampup_ratio: bound of the half-life as a fraction of the images so far, above 0. None: no such bound.
        batch_size: images per step, required with the two before it, which it turns into steps.
        common: see `PresetOptions`.
    """
    if batch_size is None:
        if halflife_Mimg != math.inf or rampup_ratio != RAMPUP_RATIO_DEFAULT:
            raise ValueError("batch_size must be given with halflife_Mimg and rampup_ratio, to turn images into steps")
        return _power_functions(STDS_DEFAULT if stds is None else tuple(stds), common)
    if stds is not None:
        raise ValueError("stds must be left out with batch_size: make two averages")
    images = count("batch_size", batch_size, least=1)
    unbounded = halflife_Mimg == math.inf
    steps = 0.0 if unbounded else positive("halflife_Mimg", halflife_Mimg) * 1e6 / images
    schedule: wire.HalfLifeRampUp | wire.HalfLife
    if rampup_ratio is not None:
        schedule = wire.HalfLifeRampUp(steps, positive("rampup_ratio", rampup_ratio))
    elif unbounded:
        raise ValueError("halflife_Mimg=inf cannot be honoured without rampup_ratio: such a shadow never moves")
    else:
        schedule = wire.HalfLife(steps)
    return [Average(schedule=schedule, start="INITIAL", decay_unit="PER_STEP", **common)]


def _power_functions(stds: tuple[float, ...], common: PresetOptions) -> list[Average]:
    if not stds:
        raise ValueError("stds must hold at least one width")
    averages = []
    for std in stds:
        schedule = wire.PowerFunction(sigma_rel=within("stds", std, WIDTH))
        named = common.copy()
        if len(stds) > 1:
            named["name"] = f"{common['name']}-{number_text(number('stds', std))}"
        averages.append(Average(schedule=schedule, start="FIRST", decay_unit="PER_STEP", **named))
    return averages
