"""The parts of a model that FSDP, 1 or 2, gathers and shards by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn


def flat_handles(model: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Yield each FSDP1 module and the handle of its flat parameter."""
    for module in model.modules():
        handle = getattr(module, "_handle", None)
        if hasattr(handle, "flat_param"):
            yield module, handle


class ShardedUnits:
    """FSDP keeps the root's gathered weights after a forward pass; another one would not see that the shards changed.

    Args:
        model: sharded or not, wherever its wrappers are.
    """

    def __init__(self, model: nn.Module) -> None:
        modules: list[Any] = [module for module in model.modules() if hasattr(module, "_get_fsdp_state")]
        self._modules = [module for module in modules if hasattr(module, "reshard")]
        self._handles = [handle for _, handle in flat_handles(model)]

    def reshard(self) -> None:
        """Free what is gathered, so that the parameters are the shards, and the next forward pass gathers anew."""
        for module in self._modules:
            module.reshard()
        for handle in self._handles:
            if hasattr(handle.flat_param, "_full_param_padded") and not handle.needs_unshard():
                handle.reshard(free_unsharded_flat_param=True)
                handle.post_reshard()
                handle._prefetched = False
