"""From a `Shadow` into a module: of a sharded one, into this process's shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from ..errors import FailedPreconditionError
from ..shadow import Shadow
from .ambient import plain_torch
from .dtypes import torch_dtype
from .names import NamedTensor, named_tensors
from .placements import memory
from .regions import Piece
from .units import ShardedUnits
from .wrappers import Names


class Fill(NamedTuple):
    """Values for the parts of a tensor that are in this process's memory: all of it is here, or these boxes."""

    named: NamedTensor
    values: list[tuple[Piece, torch.Tensor]]


class Copy(NamedTuple):
    """Memory of a model, and what is to be written there."""

    target: torch.Tensor
    source: torch.Tensor


def shadow_tensors(shadow: Shadow) -> dict[str, torch.Tensor]:
    """Return the shadow's tensors by name, as views of its buffer (BF16 as torch.bfloat16).

    Complex tensors are pairs of floats: `torch.view_as_complex` takes them.

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
    views = []
    with plain_torch():
        flat = torch.from_numpy(shadow.buffer)
        for spec in shadow.specs:
            dtype = torch_dtype(spec.dtype)
            size = torch.Size(spec.shape).numel() * dtype.itemsize
            views.append(flat[spec.offset : spec.offset + size].view(dtype).view(spec.shape))
    return views


def load_shadow(shadow: Shadow, module: nn.Module, *, strict: bool = True, names: Names | None = None) -> None:
    """Copy a shadow into a module's parameters and persistent buffers, in place.

    Wrapped modules (DDP, torch.compile, FSDP ...) are matched by the names of what they wrap; of sharded ones each
    process takes what it holds out of the whole tensors. Complex tensors take pairs of floats. Nothing is copied unless
    everything fits.

    Args:
        shadow: what `get_shadow` returned.
        module: wrapped or not.
        strict: each parameter must be in the shadow, and each of the shadow's tensors in the module. Buffers that the
            run ignores stay as they are.
        names: as in `EMA`, for this module.

    Raises:
        FailedPreconditionError: LAYOUT_MISMATCH, which names the tensor.
        TypeError: a tensor of the module cannot be written, as one on the meta device; the message names it.
    """
    ShardedUnits(module).reshard()
    tensors = named_tensors(module, "copy", names=names)
    with plain_torch():
        copy_all(copies_of(fill_all(shadow, tensors) if strict else fills_of(shadow, tensors)))


def fill_all(shadow: Shadow, tensors: Sequence[NamedTensor]) -> list[Fill]:
    """As `fills_of`, but each parameter must be in the shadow, and all of that in `tensors`."""
    fills = fills_of(shadow, tensors)
    check_names(shadow.run, [spec.name for spec in shadow.specs], tensors)
    return fills


def check_names(run: str, names: Sequence[str], tensors: Sequence[NamedTensor]) -> None:
    """Raise LAYOUT_MISMATCH for the first parameter that is not in the shadow, and for what is only there."""
    present = set(names)
    for named in tensors:
        if named.is_parameter and present.isdisjoint(named.names):
            raise mismatch(named.name, f"is not in the shadow of run {run!r}")
    unknown = present - {name for named in tensors for name in named.names}
    if unknown:
        raise mismatch(min(unknown), "is not in the module")


def fills_of(shadow: Shadow, tensors: Sequence[NamedTensor]) -> list[Fill]:
    """Return what the shadow has for these tensors, tied ones under any of their names; all shapes are checked."""
    sources = shadow_tensors(shadow)
    fills = []
    for named in tensors:
        source = next((sources[name] for name in named.names if name in sources), None)
        if source is None:
            continue
        check_shape(named, source.shape)
        with plain_torch():
            fills.append(Fill(named, [(piece, piece.of(source)) for piece in local_pieces(named)]))
    return fills


def local_pieces(named: NamedTensor) -> list[Piece]:
    """Return the boxes of a tensor that are in this process's memory."""
    return [piece for region in named.slot.regions() for piece in region.pieces(0, region.numel)]


def copies_of(fills: Sequence[Fill]) -> list[Copy]:
    """Return what is to be copied where, checked: from here on nothing is known that could fail.

    Raises:
        ValueError: a tensor repeats its memory, as `expand` does, and is to get values that do not repeat.
    """
    return [copy for fill in fills for copy in copies_into(fill.named.tensor, fill)]


def copies_into(tensor: torch.Tensor, fill: Fill) -> list[Copy]:
    """As `copies_of`, into another tensor of the same shape and placements."""
    local = memory(tensor).detach()
    return [_copy(fill.named.name, piece.view(local), source) for piece, source in fill.values]


def raw_values(fill: Fill) -> Fill:
    """Return copies of the values that a fill would overwrite; what repeats in memory repeats in the copy."""
    local = fill.named.slot.memory.detach()
    views = [(piece, piece.view(local)) for piece, _ in fill.values]
    return Fill(fill.named, [(piece, _unrepeated(view).clone().expand_as(view)) for piece, view in views])


def copy_all(copies: Sequence[Copy]) -> None:
    """Copy each source into its target."""
    for target, source in copies:
        # What was made in inference mode is written there only.
        with torch.inference_mode(target.is_inference()), torch.no_grad():
            target.copy_(source)


def check_shape(named: NamedTensor, shape: Sequence[int]) -> None:
    """Raise LAYOUT_MISMATCH when the shadow has the tensor in another shape, TypeError when it cannot be written."""
    named.check_readable()
    if tuple(shape) != named.shape:
        raise mismatch(named.name, f"has shape {list(named.shape)}, {list(shape)} in the shadow")


def mismatch(name: str, problem: str) -> FailedPreconditionError:
    """Return the error of a tensor that does not fit."""
    return FailedPreconditionError(f"tensor {name!r} {problem}", reason="LAYOUT_MISMATCH", metadata={"tensor": name})


def _copy(name: str, target: torch.Tensor, source: torch.Tensor) -> Copy:
    """Write what is repeated in memory once."""
    once, first = _unrepeated(target), source
    if once.shape != target.shape:
        for dimension, extent in enumerate(once.shape):
            first = first.narrow(dimension, 0, extent)
        if _unrepeated(source).shape != once.shape and not same_bytes(source, first.expand_as(source)):
            raise ValueError(
                f"tensor {name!r} repeats the same memory (strides {target.stride()}), and the values for it differ: "
                "give it memory of its own with clone()"
            )
    return Copy(once, first)


def _unrepeated(view: torch.Tensor) -> torch.Tensor:
    """Return the view without the repetitions of `expand`, which are dimensions of stride 0."""
    for dimension, (extent, stride) in enumerate(zip(view.shape, view.stride(), strict=True)):
        if stride == 0 and extent > 1:
            view = view.narrow(dimension, 0, 1)
    return view


def same_bytes(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Compare bit by bit: a NaN equals itself."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    flat, other = (tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (ours, theirs))
    return torch.equal(flat, other)
