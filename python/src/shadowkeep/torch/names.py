"""Which tensors of a module take part, under which names: the same inside and outside of every wrapper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ..layout import PolicyName

BuffersPolicy = Literal["copy", "average", "ignore"]

# What torch.compile, FSDP and activation checkpointing put in front of a submodule's names, anywhere in a name.
WRAPPER_PARTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# What DistributedDataParallel and DataParallel put in front of the whole model's names.
PARALLEL_PART = "module"


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A place in the model: the tensor that stands there may be another one later (`p.data = …`, `m.weight = …`)."""

    name: str
    policy: PolicyName
    owner: dict[str, torch.Tensor | None]
    leaf: str

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter or buffer that stands there now."""
        tensor = self.owner.get(self.leaf)
        if tensor is None:
            raise RuntimeError(f"tensor {self.name!r} is not in the model any more")
        return tensor


def canonical_name(name: str) -> str:
    """Return the name without the parts that wrappers add."""
    parts = [part for part in name.split(".") if part not in WRAPPER_PARTS]
    while len(parts) > 1 and parts[0] == PARALLEL_PART:
        parts = parts[1:]
    return ".".join(parts)


def named_tensors(model: nn.Module, buffers: BuffersPolicy) -> list[NamedTensor]:
    """Return the model's tensors in the order of its definition, tied ones once, under canonical names.

    Floating-point parameters are averaged, the others copied. Persistent buffers follow `buffers`; only
    floating-point ones can be averaged.

    Raises:
        ValueError: two tensors have the same canonical name.
    """
    found: dict[str, NamedTensor] = {}
    seen: set[tuple[object, ...]] = set()
    for named in _candidates(model, buffers):
        identity = _identity(named.tensor)
        if identity in seen:
            continue
        seen.add(identity)
        if named.name in found:
            raise ValueError(f"two tensors of the model are called {named.name!r} without the wrappers' parts")
        found[named.name] = named
    return list(found.values())


def _candidates(model: nn.Module, buffers: BuffersPolicy) -> Iterator[NamedTensor]:
    for prefix, module in model.named_modules():
        yield from _owned(prefix, module._parameters, "AVERAGE")
    if buffers == "ignore":
        return
    for prefix, module in model.named_modules():
        persistent = (leaf for leaf in module._buffers if leaf not in module._non_persistent_buffers_set)
        yield from _owned(prefix, module._buffers, "AVERAGE" if buffers == "average" else "COPY", persistent)


def _owned(
    prefix: str, owner: dict[str, torch.Tensor | None], policy: PolicyName, leaves: Iterator[str] | None = None
) -> Iterator[NamedTensor]:
    for leaf in owner if leaves is None else leaves:
        tensor = owner[leaf]
        if tensor is not None:
            name = canonical_name(f"{prefix}.{leaf}" if prefix else leaf)
            yield NamedTensor(name, policy if tensor.is_floating_point() else "COPY", owner, leaf)


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    """Tied tensors are the same memory seen the same way; empty ones have no memory."""
    if tensor.numel() == 0:
        return (id(tensor),)
    storage = tensor.untyped_storage().data_ptr()
    return tensor.device, storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
