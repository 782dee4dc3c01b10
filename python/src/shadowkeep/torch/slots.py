"""Where a tensor stands in a module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from .placements import local_regions, local_tensor, memory, replica_ranks, travel_shape
from .readable import problem_of
from .regions import Extents, Region


@dataclass(frozen=True, slots=True)
class ModuleSlot:
    """A place in a module: the tensor that stands there may be another one later (`p.data = …`, `m.weight = …`)."""

    name: str
    module: Any
    kind: Literal["_parameters", "_buffers"]
    leaf: str

    @property
    def owner(self) -> Any:
        """The module's parameters or buffers: a dict, or what a scripted module has in its place."""
        return getattr(self.module, self.kind)

    @property
    def current(self) -> torch.Tensor | None:
        """The parameter or buffer that stands there now, if there is one."""
        owner = self.owner
        if self.leaf not in owner:
            return None
        tensor: torch.Tensor | None = owner[self.leaf]
        return tensor

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter or buffer that stands there now."""
        tensor = self.current
        if tensor is None:
            raise RuntimeError(f"tensor {self.name!r} is not in the model any more")
        return tensor

    @property
    def memory(self) -> torch.Tensor:
        """What of it is in this process, as it travels."""
        return memory(self.tensor)

    @property
    def shape(self) -> Extents:
        """Of the whole tensor as it travels, wherever its parts are."""
        return travel_shape(self.tensor)

    @property
    def requires_grad(self) -> bool:
        """Whether it is trained."""
        return self.tensor.requires_grad

    @property
    def mark(self) -> object:
        """What changes when it is written or replaced; torch does not count writes through `.data`."""
        tensor = self.tensor
        local = local_tensor(tensor)
        return id(tensor), local.data_ptr(), 0 if local.is_inference() else local._version

    @property
    def key(self) -> object:
        """What tells the tensor itself, whose values are not looked at, from others."""
        return id(self.tensor)

    @property
    def identity(self) -> object:
        """Tied tensors are the same memory seen the same way; what has no memory is only itself."""
        tensor = self.tensor
        if problem_of(tensor) is not None:
            return id(tensor)
        local = local_tensor(tensor)
        if local.numel() == 0:
            return id(tensor)
        storage = local.untyped_storage().data_ptr()
        return local.device, storage, local.storage_offset(), local.shape, local.stride(), local.dtype

    def regions(self) -> Sequence[Region]:
        """Return what of the tensor is in this process's memory. Raises ValueError for placements without values."""
        return local_regions(self.name, self.tensor)

    def replicas(self, size: int) -> tuple[int, ...] | None:
        """Return the ranks, of `size`, that hold the same part of it, rising; None: all hold a tensor of this kind."""
        return replica_ranks(self.tensor, size)
