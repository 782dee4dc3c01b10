"""The family of K. Crowson's warm-up, decay_n = 1 - (1 + n / inv_gamma)^-power: k-diffusion and ema-pytorch."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Unpack

from .. import wire
from .average import Average
from .checks import count, ordered, positive, unit_interval
from .preset import PresetOptions, only, preset


@preset(buffers="copy")
def k_diffusion(
    *,
    inv_gamma: float = 1.0,
    power: float = 1.0,
    min_value: float = 0.0,
    max_value: float = 1.0,
    start_at: int = 0,
    **common: Unpack[PresetOptions],
) -> Average:
    """k-diffusion's `EMAWarmup` with `ema_update`, stepped once per update: n = 0 at the first, on the initial weights.

    Args:
        inv_gamma: above 0.
        power: above 0; 1 is the plain average.
        min_value: lower bound of the decay, 0 to `max_value`, also at n = 0. Only 0 with `start_at`.
        max_value: upper bound, 0 to 1.
        start_at: updates that are copied before the first one.
        common: see `PresetOptions`.
    """
    low, high = unit_interval("min_value", min_value), unit_interval("max_value", max_value)
    ordered("min_value", low, "max_value", high)
    delay = count("start_at", start_at)
    if delay > 0:
        only("min_value", low, 0, "with start_at the updates before it are copied; the peer blends them by min_value")
    schedule = wire.InversePower(positive("inv_gamma", inv_gamma), positive("power", power), low, high)
    return Average(schedule=schedule, start="INITIAL", delay_updates=delay, **common)


@preset(buffers="average")
def ema_pytorch(
    *,
    beta: float = 0.9999,
    update_after_step: int = 100,
    update_every: int = 10,
    inv_gamma: float = 1.0,
    power: float = 2 / 3,
    min_value: float = 0.0,
    param_or_buffer_names_no_ema: Collection[str] = (),
    ignore_names: Collection[str] = (),
    ignore_startswith_names: Collection[str] = (),
    include_online_model: bool = True,
    allow_different_devices: bool = False,
    use_foreach: bool = False,
    update_model_with_ema_every: int | None = None,
    update_model_with_ema_beta: float = 0.0,
    forward_method_names: Any = (),
    move_ema_to_online_device: bool = False,
    coerce_dtype: bool = False,
    lazy_init_ema: bool = False,
    **common: Unpack[PresetOptions],
) -> Average:
    """lucidrains' `EMA`: of the updates 1, 1 + update_every ... the early ones are copied, then the warm-up begins.

    n counts all updates since `update_after_step`, those in between, too. The very first update is copied: the shadow
    needs no initial push.

    Args:
        beta: upper bound of the decay, 0 to 1; at 1 the peer is frozen after its copies, and so is this.
        update_after_step: updates up to this and the one after it are copied, those that `update_every` falls on.
        update_every: 1 or above.
        inv_gamma: above 0.
        power: above 0.
        min_value: lower bound of the decay, 0 to `beta`.
        param_or_buffer_names_no_ema: only empty: say COPY in the run's policies.
        ignore_names: only empty: say IGNORE in the run's policies, or `exclude`.
        ignore_startswith_names: only empty, likewise.
        include_online_model: no effect.
        allow_different_devices: no effect.
        use_foreach: no effect.
        update_model_with_ema_every: only None: the service never writes into the model.
        update_model_with_ema_beta: no effect without it.
        forward_method_names: no effect.
        move_ema_to_online_device: no effect.
        coerce_dtype: no effect.
        lazy_init_ema: no effect.
        common: see `PresetOptions`.
    """
    only("param_or_buffer_names_no_ema", list(param_or_buffer_names_no_ema), [], "say COPY in the run's policies")
    only("ignore_names", list(ignore_names), [], "say IGNORE in the run's policies, or exclude=")
    only("ignore_startswith_names", list(ignore_startswith_names), [], "say IGNORE in the run's policies, or exclude=")
    only("update_model_with_ema_every", update_model_with_ema_every, None, "load the shadow into the model yourself")
    low, high = unit_interval("min_value", min_value), unit_interval("beta", beta)
    ordered("min_value", low, "beta", high)
    warm_up = wire.InversePower(positive("inv_gamma", inv_gamma), positive("power", power), low, high)
    every, after = count("update_every", update_every, least=1), count("update_after_step", update_after_step)
    # The last copy is the first update after the delay where `update_every` falls on that one. Where it does not, the
    # first fold is no copy: the last one is part of the delay, as is the first update, so that no zeros are seen.
    copied = after % every == 0
    return Average(
        schedule=wire.ConstantDecay(1.0) if high == 1 else warm_up,
        start="FIRST" if copied else "ZEROS",
        delay_updates=after if copied else after + 1,
        every=every,
        every_offset=1 % every,
        first_index=0 if copied else 1,
        index_unit="PUSHES",
        **common,
    )
