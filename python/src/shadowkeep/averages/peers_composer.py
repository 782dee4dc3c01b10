"""MosaicML Composer's EMA, whose times are strings."""

from __future__ import annotations

import re
from typing import Unpack

from .. import wire
from .average import Average
from .checks import count, unit_interval
from .preset import PresetOptions, preset


@preset(buffers="average")
def composer(
    *,
    half_life: str | None = "1000ba",
    smoothing: float | None = None,
    ema_start: str = "0.0dur",
    update_interval: str | None = None,
    **common: Unpack[PresetOptions],
) -> Average:
    """Composer's `EMA`: decay = 2^(-update_interval / half_life); the first update is copied, then every N-th counts.

    Times are in batches ("10ba"); the service knows no epochs and not how long the training will be.

    Args:
        half_life: batches after which an old weight counts half. None with `smoothing`: a given `smoothing` needs it.
        smoothing: the decay itself, 0 to 1, not adapted to the interval.
        ema_start: "Kba": the batches before K are copied, and K itself. "0.0dur": from the beginning, the first batch.
        update_interval: "Nba": the batches N, 2 N ... are averaged. None: "1ba".
        common: see `PresetOptions`.
    """
    if (half_life is None) == (smoothing is None):
        raise ValueError(f"exactly one of half_life ({half_life}) and smoothing ({smoothing}) must be given")
    every = 1 if update_interval is None else _batches("update_interval", update_interval, least=1)
    begin = max(1, 0 if re.fullmatch(r"0+(\.0*)?dur", ema_start) else _batches("ema_start", ema_start))
    if half_life is not None:
        decay = 2 ** (-every / _batches("half_life", half_life, least=1))
    else:
        decay = unit_interval("smoothing", smoothing)
    # The clone is the first fold, or a copy before it.
    is_fold = begin % every == 0
    return Average(
        schedule=wire.ConstantDecay(decay),
        start="FIRST" if is_fold else "ZEROS",
        delay_updates=begin - 1 if is_fold else begin,
        delay_mode="COPY_EACH_UNTIL",
        every=every,
        **common,
    )


def _batches(option: str, text: str, least: int = 0) -> int:
    if not isinstance(text, str):
        raise TypeError(f"{option} must be a time in batches such as '10ba', got {text!r}")
    found = re.fullmatch(r"([0-9]+)ba", text)
    if found is None:
        raise ValueError(
            f"{option}={text} cannot be honoured: give it in batches ('10ba'), the service knows no others"
        )
    return count(option, int(found[1]), least)
