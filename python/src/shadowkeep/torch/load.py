"""From a `Shadow` into a module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import FailedPreconditionError
from ..shadow import Shadow
from .dtypes import torch_dtype
from .names import NamedTensor, named_tensors

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
    tensors = named_tensors(module, "copy")
    copy_into(pair_all(shadow, module, tensors) if strict else pair_up(shadow, tensors))


def pair_all(shadow: Shadow, module: nn.Module, tensors: Sequence[NamedTensor]) -> Pairs:
    """As `pair_up`, but each of the module's parameters must be in the shadow, and all of that in `tensors`."""
    pairs = pair_up(shadow, tensors)
    missing = {id(parameter) for parameter in module.parameters()} - {id(tensor) for tensor, _ in pairs}
    for named in tensors:
        if id(named.tensor) in missing:
            raise _mismatch(named.name, f"is not in the shadow of run {shadow.run!r}")
    unknown = {spec.name for spec in shadow.specs} - {named.name for named in tensors}
    if unknown:
        raise _mismatch(min(unknown), "is not in the module")
    return pairs


def pair_up(shadow: Shadow, tensors: Sequence[NamedTensor]) -> Pairs:
    """Pair each tensor with the shadow's of its name, where there is one; all shapes are checked."""
    sources = shadow_tensors(shadow)
    pairs: Pairs = []
    for named in tensors:
        tensor, source = named.tensor, sources.get(named.name)
        if source is None:
            continue
        if source.shape != tensor.shape:
            problem = f"has shape {list(tensor.shape)}, {list(source.shape)} in the shadow"
            raise _mismatch(named.name, problem)
        pairs.append((tensor, source))
    return pairs


@torch.no_grad()
def copy_into(pairs: Pairs) -> None:
    """Copy each pair's second tensor into its first."""
    for tensor, source in pairs:
        tensor.detach().copy_(source)


def _mismatch(name: str, problem: str) -> FailedPreconditionError:
    return FailedPreconditionError(f"tensor {name!r} {problem}", reason="LAYOUT_MISMATCH", metadata={"tensor": name})
