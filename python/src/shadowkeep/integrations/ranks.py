"""Processes that hold the same weights, as under DistributedDataParallel: one pushes, all apply the same step."""

from __future__ import annotations

import torch.distributed as dist

from ..torch import EMA


def is_main_rank() -> bool:
    """Return whether this process is the one that pushes."""
    return not _is_distributed() or dist.get_rank() == 0


def agreed_step(ema: EMA, timeout: float = 60.0) -> int | None:
    """Return the newest step that the service has committed, the same in each process; all of them call it."""
    if not _is_distributed():
        return ema.newest_step(timeout)
    agreed = [ema.newest_step(timeout) if is_main_rank() else None]
    dist.broadcast_object_list(agreed, src=0)
    return agreed[0]


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
