"""Where a tensor stands in a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from .placements import local_regions, local_tensor, replica_ranks
from .regions import Extents, Region


@dataclass(frozen=True, slots=True)
class ModuleSlot:
    """A place in a module: the tensor that stands there may be another one later (`p.data = …`, `m.weight = …`)."""

    name: str
    owner: Mapping[str, torch.Tensor | None]
    leaf: str

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter or buffer that stands there now."""
        tensor = self.owner.get(self.leaf)
        if tensor is None:
            raise RuntimeError(f"tensor {self.name!r} is not in the model any more")
        return tensor

    @property
    def shape(self) -> Extents:
        """Of the whole tensor, wherever its parts are."""
        return tuple(self.tensor.shape)

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
    def identity(self) -> object:
        """Tied tensors are the same memory seen the same way; empty ones have no memory."""
        tensor = self.tensor
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
