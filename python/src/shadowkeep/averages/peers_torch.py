"""torch.optim.swa_utils.AveragedModel, by itself and as Lightning's callback."""

from __future__ import annotations

from typing import Any, Unpack

from .. import wire
from .average import Average
from .checks import boolean, count, unit_interval
from .preset import PresetOptions, averaged_buffers, only, preset


@preset(buffers="copy")
def torch_ema(
    *, decay: float = 0.999, device: Any = None, use_buffers: bool = False, **common: Unpack[PresetOptions]
) -> Average:
    """`AveragedModel(multi_avg_fn=get_ema_multi_avg_fn(decay))`: a constant decay; the first update is copied.

    Args:
        decay: 0 to 1.
        device: no effect.
        use_buffers: floating-point buffers are averaged; without it all are copied.
        common: see `PresetOptions`.
    """
    buffers = averaged_buffers(boolean("use_buffers", use_buffers))
    schedule = wire.ConstantDecay(unit_interval("decay", decay))
    return Average(schedule=schedule, start="FIRST", buffers=buffers, **common)


@preset(buffers="copy")
def torch_swa(*, device: Any = None, use_buffers: bool = False, **common: Unpack[PresetOptions]) -> Average:
    """`AveragedModel` without an averaging function: the plain average of all updates.

    Args:
        device: no effect.
        use_buffers: as in `torch_ema`.
        common: see `PresetOptions`.
    """
    buffers = averaged_buffers(boolean("use_buffers", use_buffers))
    return Average(schedule=wire.Mean(), start="FIRST", buffers=buffers, **common)


@preset(buffers="average")
def lightning(
    *,
    device: Any = None,
    use_buffers: bool = True,
    decay: float = 0.999,
    update_every_n_steps: int = 1,
    update_starting_at_step: int | None = None,
    update_starting_at_epoch: int | None = None,
    **common: Unpack[PresetOptions],
) -> Average:
    """Lightning's `EMAWeightAveraging`: a constant decay; the first update is copied.

    Args:
        device: no effect.
        use_buffers: floating-point buffers are averaged; without it all are copied.
        decay: 0 to 1.
        update_every_n_steps: 1 or above; steps whose zero-based index is a multiple of it are averaged.
        update_starting_at_step: zero-based index of the first step that may be. Before it the shadow stays as it is:
            push the initial weights (`Run.push_initial`) to have it equal them, as the callback does.
        update_starting_at_epoch: only None: the service knows no epochs.
        common: see `PresetOptions`.
    """
    only("update_starting_at_epoch", update_starting_at_epoch, None, "give update_starting_at_step in steps")
    every = count("update_every_n_steps", update_every_n_steps, least=1)
    return Average(
        schedule=wire.ConstantDecay(unit_interval("decay", decay)),
        start="FIRST",
        delay_updates=count("update_starting_at_step", update_starting_at_step or 0),
        delay_mode="HOLD_UNTIL",
        every=every,
        every_offset=1 % every,
        buffers=averaged_buffers(boolean("use_buffers", use_buffers)),
        **common,
    )
