"""The constant decays of NeMo and fairseq."""

from __future__ import annotations

from typing import Unpack

from .. import wire
from .average import Average
from .checks import count, unit_interval
from .preset import PresetOptions, only, preset


@preset(buffers="copy")
def nemo(
    *,
    decay: float,
    validate_original_weights: bool = False,
    every_n_steps: int = 1,
    cpu_offload: bool = False,
    **common: Unpack[PresetOptions],
) -> Average:
    """NeMo's `EMA` callback: a constant decay from the initial weights, at the steps 1, 1 + every_n_steps ...

    Args:
        decay: 0 to 1.
        validate_original_weights: no effect: which weights are validated is the evaluator's choice.
        every_n_steps: 1 or above; the decay is not adapted to it.
        cpu_offload: no effect.
        common: see `PresetOptions`.
    """
    every = count("every_n_steps", every_n_steps, least=1)
    schedule = wire.ConstantDecay(unit_interval("decay", decay))
    return Average(schedule=schedule, start="INITIAL", every=every, every_offset=1 % every, **common)


@preset(buffers="copy")
def fairseq(
    *,
    ema_decay: float = 0.9999,
    ema_start_update: int = 0,
    ema_seed_model: str | None = None,
    ema_update_freq: int = 1,
    ema_fp32: bool = False,
    **common: Unpack[PresetOptions],
) -> Average:
    """fairseq's `EMA`: a constant decay from the initial weights, at the updates freq, 2 * freq ...

    Args:
        ema_decay: 0 to 1.
        ema_start_update: the first update that is averaged; those before it are copied.
        ema_seed_model: only None: push the seed's weights as the initial ones.
        ema_update_freq: 1 or above; the decay is not adapted to it.
        ema_fp32: no effect: shadows are float32 at least.
        common: see `PresetOptions`.
    """
    only("ema_seed_model", ema_seed_model, None, "push that model's weights with push_initial")
    return Average(
        schedule=wire.ConstantDecay(unit_interval("ema_decay", ema_decay)),
        start="INITIAL",
        delay_updates=max(0, count("ema_start_update", ema_start_update) - 1),
        every=count("ema_update_freq", ema_update_freq, least=1),
        **common,
    )
