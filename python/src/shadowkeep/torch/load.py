"""From a `Shadow` into a module."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import FailedPreconditionError
from ..shadow import Shadow
from .dtypes import torch_dtype
from .names import BuffersPolicy, named_tensors

Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def shadow_tensors(shadow: Shadow) -> dict[str, torch.Tensor]:
    """Return the shadow's tensors by name, as views of its buffer (BF16 as torch.bfloat16)."""
    flat = torch.from_numpy(shadow.buffer)
    tensors = {}
    for spec in shadow.specs:
        dtype = torch_dtype(spec.dtype)
        size = dtype.itemsize
        for extent in spec.shape:
            size *= extent
        tensors[spec.name] = flat[spec.offset : spec.offset + size].view(dtype).view(spec.shape)
    return tensors


def load_shadow(shadow: Shadow, module: nn.Module, *, strict: bool = True) -> None:
    """Copy a shadow into a module's parameters and persistent buffers, in place.

    Wrapped modules (DDP, torch.compile, FSDP1 on one rank) are matched by canonical names. Nothing is copied unless
    everything fits.

    Args:
        strict: each parameter must be in the shadow, and each of the shadow's tensors in the module. Buffers that the
            run ignores stay as they are.

    Raises:
        FailedPreconditionError: LAYOUT_MISMATCH, which names the tensor.
    """
    copy_into(match(shadow, module, "copy", strict=strict))


def match(shadow: Shadow, module: nn.Module, buffers: BuffersPolicy, *, strict: bool) -> Pairs:
    """Pair each of the module's tensors with the shadow's; both sides are checked before anything is returned."""
    sources = shadow_tensors(shadow)
    parameters = {id(parameter) for parameter in module.parameters()}
    pairs: Pairs = []
    for named in named_tensors(module, buffers):
        name, tensor = named.name, named.tensor
        source = sources.pop(name, None)
        if source is None:
            if strict and id(tensor) in parameters:
                raise _mismatch(name, f"is not in the shadow of run {shadow.run!r}")
        elif source.shape != tensor.shape:
            raise _mismatch(name, f"has shape {list(tensor.shape)}, {list(source.shape)} in the shadow")
        else:
            pairs.append((tensor, source))
    if strict and sources:
        raise _mismatch(next(iter(sources)), "is not in the module")
    return pairs


@torch.no_grad()
def copy_into(pairs: Pairs) -> None:
    """Copy each pair's second tensor into its first."""
    for tensor, source in pairs:
        tensor.detach().copy_(source)


def _mismatch(name: str, problem: str) -> FailedPreconditionError:
    return FailedPreconditionError(f"tensor {name!r} {problem}", reason="LAYOUT_MISMATCH", metadata={"tensor": name})
