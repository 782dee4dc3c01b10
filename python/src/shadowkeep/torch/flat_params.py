"""FSDP1: its flat parameters hold pieces of several parameters, one behind the other, of which each rank has a range.

    parameters         | weight ............... | bias .. |
    flat parameter     | 0 1 2 3 4 5 6 7 8 9 10 11 | 12 13 .. (padding)
    on rank 1 of 2                      [ 7 8 9 10 11 | 12 13 ]

What is read here are attributes of torch's `FlatParamHandle`, the same since torch 2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from .regions import Extents, RangeRegion
from .units import flat_handles

# Strategies of torch.distributed.fsdp in which several ranks hold the same.
_REPLICATED = "NO_SHARD"
_HYBRID = ("HYBRID_SHARD", "_HYBRID_SHARD_ZERO2")


class FlatPlace(NamedTuple):
    """The `number`-th parameter of a flat one, the ranks that hold the same of it, and how many hold any of it."""

    handle: Any
    number: int
    replicas: tuple[int, ...]
    holders: int


@dataclass(frozen=True, slots=True)
class FlatSlot:
    """A parameter's place in a flat parameter, as `ModuleSlot` is one in a module."""

    name: str
    place: FlatPlace

    @property
    def tensor(self) -> torch.Tensor:
        """This rank's elements of it as they are now, flat."""
        flat = self._flat
        # Until the first forward there is no attribute of its own for it.
        local: torch.Tensor = getattr(flat, "_local_shard", flat).detach()
        info = flat._shard_param_infos[self.place.number]
        start = info.offset_in_shard if info.in_shard else 0
        return local[start : start + (info.numel_in_shard if info.in_shard else 0)]

    @property
    def memory(self) -> torch.Tensor:
        """The same."""
        return self.tensor

    @property
    def shape(self) -> Extents:
        """Of the whole parameter."""
        return tuple(self._flat._shapes[self.place.number])

    @property
    def requires_grad(self) -> bool:
        """Whether it is trained."""
        flat = self._flat
        return bool((flat if flat._params is None else flat._params[self.place.number]).requires_grad)

    @property
    def mark(self) -> object:
        """Nothing that tells of writes: the parameters of a flat one are written together."""
        return None

    @property
    def key(self) -> object:
        """What it shares with no other parameter; tied ones have one place."""
        return id(self.place.handle), self.place.number

    @property
    def identity(self) -> object:
        """The same."""
        return self.key

    def regions(self) -> Sequence[RangeRegion]:
        """Return the range of its elements that is here.

        Raises:
            ValueError: its elements are not in row-major order, are complex, or are those of another sharded tensor.
        """
        flat, index = self._flat, self.place.number
        if flat.is_complex():
            raise ValueError(f"parameter {self.name!r} is complex: shard it with FSDP2 (fully_shard)")
        if not flat._contiguities[index] or flat._param_extensions[index] is not None:
            raise ValueError(f"parameter {self.name!r} is flattened by FSDP in another way than row by row")
        info = flat._shard_param_infos[index]
        return [RangeRegion(self.shape, info.intra_param_start_idx, info.numel_in_shard)] if info.in_shard else []

    def replicas(self, size: int) -> tuple[int, ...] | None:
        """Return the ranks that hold the same part of it, rising. Raises ValueError when not all of `size` hold any."""
        if self.place.holders != size:
            raise ValueError(f"FSDP has spread {self.name!r} over {self.place.holders} ranks, {size} processes push")
        return self.place.replicas

    @property
    def _flat(self) -> Any:
        return self.place.handle.flat_param


class FlatParameters:
    """The parameters that FSDP1 has flattened, by the modules that they belong to."""

    def __init__(self, model: nn.Module) -> None:
        self._places: dict[int, dict[str, FlatPlace]] = {}
        self._tied: set[tuple[int, str]] = set()
        for state, handle in flat_handles(model):
            replicas, holders = _replica_ranks(state, handle)
            for index, info in enumerate(handle.flat_param._param_infos):
                own = self._places.setdefault(id(info.module), {})
                own[info.param_name] = FlatPlace(handle, index, replicas, holders)
            self._tied.update((id(info.module), info.param_name) for info in handle.flat_param._shared_param_infos)

    def of(self, module: nn.Module) -> dict[str, FlatPlace]:
        """Return the places of a module's own parameters, by their names in it."""
        return self._places.get(id(module), {})

    def has(self, module: nn.Module, leaf: str, tensor: torch.Tensor) -> bool:
        """Return whether a module's parameter has its place in a flat one, or is one itself."""
        placed = leaf in self.of(module) or (id(module), leaf) in self._tied
        return placed or bool(getattr(tensor, "_is_flat_param", False))


def _replica_ranks(state: Any, handle: Any) -> tuple[tuple[int, ...], int]:
    """Return the ranks that hold the same as this one, rising, and the number of those that hold anything."""
    import torch.distributed as dist

    sharded = handle.process_group.size()
    strategy = handle._sharding_strategy.name
    if strategy == _REPLICATED:
        return tuple(sorted(dist.get_process_group_ranks(handle.process_group))), sharded
    if strategy in _HYBRID:
        replicas = tuple(sorted(dist.get_process_group_ranks(state._inter_node_pg)))
        return replicas, sharded * len(replicas)
    return (dist.get_rank(),), sharded
