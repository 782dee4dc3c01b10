"""From a `Shadow` into a module: of a sharded one, into this process's shards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import FailedPreconditionError
from ..shadow import Shadow
from .dtypes import torch_dtype
from .names import NamedTensor, named_tensors
from .placements import local_tensor
from .regions import Piece
from .units import ShardedUnits

Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def shadow_tensors(shadow: Shadow) -> dict[str, torch.Tensor]:
    """Return the shadow's tensors by name, as views of its buffer (BF16 as torch.bfloat16).

    Raises:
        ValueError: it was read by boxes, several of one tensor.
    """
    tensors: dict[str, torch.Tensor] = {}
    for spec, view in zip(shadow.specs, shadow_views(shadow), strict=True):
        if spec.name in tensors:
            raise ValueError(f"tensor {spec.name!r} was read by several boxes")
        tensors[spec.name] = view
    return tensors


def shadow_views(shadow: Shadow) -> list[torch.Tensor]:
    """Return the shadow's tensors or boxes in the order of its `specs`, as views of its buffer."""
    flat = torch.from_numpy(shadow.buffer)
    views = []
    for spec in shadow.specs:
        dtype = torch_dtype(spec.dtype)
        size = torch.Size(spec.shape).numel() * dtype.itemsize
        views.append(flat[spec.offset : spec.offset + size].view(dtype).view(spec.shape))
    return views


def load_shadow(shadow: Shadow, module: nn.Module, *, strict: bool = True) -> None:
    """Copy a shadow into a module's parameters and persistent buffers, in place.

    Wrapped modules (DDP, torch.compile, FSDP) are matched by canonical names; of sharded ones each process takes what
    it holds out of the whole tensors. Nothing is copied unless everything fits.

    Args:
        strict: each parameter must be in the shadow, and each of the shadow's tensors in the module. Buffers that the
            run ignores stay as they are.

    Raises:
        FailedPreconditionError: LAYOUT_MISMATCH, which names the tensor.
    """
    ShardedUnits(module).reshard()
    tensors = named_tensors(module, "copy")
    copy_into(pair_all(shadow, tensors) if strict else pair_up(shadow, tensors))


def pair_all(shadow: Shadow, tensors: Sequence[NamedTensor]) -> Pairs:
    """As `pair_up`, but each parameter must be in the shadow, and all of that in `tensors`."""
    pairs = pair_up(shadow, tensors)
    check_names(shadow.run, [spec.name for spec in shadow.specs], tensors)
    return pairs


def check_names(run: str, names: Sequence[str], tensors: Sequence[NamedTensor]) -> None:
    """Raise LAYOUT_MISMATCH for the first parameter that is not in the shadow, and for what is only there."""
    present = set(names)
    for named in tensors:
        if named.is_parameter and named.name not in present:
            raise mismatch(named.name, f"is not in the shadow of run {run!r}")
    unknown = present - {named.name for named in tensors}
    if unknown:
        raise mismatch(min(unknown), "is not in the module")


def pair_up(shadow: Shadow, tensors: Sequence[NamedTensor]) -> Pairs:
    """Pair what is here of each tensor with the shadow's of its name, where there is one; all shapes are checked."""
    sources = shadow_tensors(shadow)
    pairs: Pairs = []
    for named in tensors:
        source = sources.get(named.name)
        if source is None:
            continue
        check_shape(named, source.shape)
        pairs += [(view, piece.of(source)) for piece, view in local_pieces(named)]
    return pairs


@torch.no_grad()
def local_pieces(named: NamedTensor) -> list[tuple[Piece, torch.Tensor]]:
    """Return the boxes of a tensor that are in this process's memory, each with its view."""
    local = local_tensor(named.tensor).detach()
    pieces = [piece for region in named.slot.regions() for piece in region.pieces(0, region.numel)]
    return [(piece, piece.view(local)) for piece in pieces]


@torch.no_grad()
def copy_into(pairs: Pairs) -> None:
    """Copy each pair's second tensor into its first."""
    for tensor, source in pairs:
        tensor.detach().copy_(source)


def check_shape(named: NamedTensor, shape: Sequence[int]) -> None:
    """Raise LAYOUT_MISMATCH when the shadow has the tensor in another shape."""
    if tuple(shape) != named.shape:
        raise mismatch(named.name, f"has shape {list(named.shape)}, {list(shape)} in the shadow")


def mismatch(name: str, problem: str) -> FailedPreconditionError:
    """Return the error of a tensor that does not fit."""
    return FailedPreconditionError(f"tensor {name!r} {problem}", reason="LAYOUT_MISMATCH", metadata={"tensor": name})
