"""Which tensors of a module take part, under which names: the same inside and outside of every wrapper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import nn

from ..layout import PolicyName

BuffersPolicy = Literal["copy", "average", "ignore"]

# What torch.compile, FSDP and activation checkpointing put in front of a submodule's names, anywhere in a name.
WRAPPER_PARTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# What DistributedDataParallel and DataParallel put in front of the whole model's names.
PARALLEL_PART = "module"


class NamedTensor(NamedTuple):
    """A parameter or buffer that takes part."""

    name: str
    tensor: torch.Tensor
    policy: PolicyName


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
    for name, tensor, policy in _candidates(model, buffers):
        identity = _identity(tensor)
        if identity in seen:
            continue
        seen.add(identity)
        canonical = canonical_name(name)
        if canonical in found:
            raise ValueError(f"tensor {name!r}: another one is called {canonical!r} without the wrappers' parts too")
        found[canonical] = NamedTensor(canonical, tensor, policy)
    return list(found.values())


def _candidates(model: nn.Module, buffers: BuffersPolicy) -> Iterator[tuple[str, torch.Tensor, PolicyName]]:
    for name, parameter in model.named_parameters():
        yield name, parameter, "AVERAGE" if parameter.is_floating_point() else "COPY"
    if buffers == "ignore":
        return
    for prefix, module in model.named_modules():
        for leaf, buffer in module.named_buffers(prefix, recurse=False):
            if leaf.rpartition(".")[2] not in module._non_persistent_buffers_set:
                yield leaf, buffer, "AVERAGE" if buffers == "average" and buffer.is_floating_point() else "COPY"


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    """Tied tensors are the same memory seen the same way; empty ones have no memory."""
    if tensor.numel() == 0:
        return (id(tensor),)
    storage = tensor.untyped_storage().data_ptr()
    return tensor.device, storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
