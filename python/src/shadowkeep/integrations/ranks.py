"""Processes that evaluate one model together and push nothing: all apply the same step."""

from __future__ import annotations

import torch.distributed as dist

from ..torch import EMA


def agreed_step(ema: EMA, timeout: float = 60.0) -> int | None:
    """Return the step to apply, the same in each process; all of them call it.

    None: the newest one. Those that push get the same step of themselves; others take the newest of the first process.
    """
    if not ema.replica or not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None
    agreed = [ema.newest_step(timeout) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(agreed, src=0)
    return agreed[0]
