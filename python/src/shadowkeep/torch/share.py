"""What each of several processes sends of one model: all of it once, evenly by bytes, with no word between them.

What one process alone holds it sends. What several hold (all of them under DistributedDataParallel, those along a
dimension of a mesh that replicates) lies one tensor behind the other and is cut into as many parts of equal size:

    buffers | weights ....... | ....... weights ....... | ...................
    rank 0                    | rank 1                  | rank 2

Buffers that nobody has placed may differ between the processes, as the statistics of batch norm do: rank 0 sends them,
as it is the one whose buffers DistributedDataParallel hands to the others, and fewer of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from ..boxes import Box, PlacedBox
from ..dtypes import item_bytes
from ..layout import Layout
from ..wire import Policy
from .ambient import plain_torch
from .dtypes import torch_dtype
from .placements import as_dtensor, memory
from .readable import PLAIN
from .regions import Piece, Region
from .weights import PushedTensors
from .world import World


class OwnPiece(NamedTuple):
    """A piece of the tensor `pushed.tensors[tensor]` that this process sends."""

    tensor: int
    piece: Piece


class _Held(NamedTuple):
    tensor: int
    region: Region
    item_bytes: int
    from_first: bool

    @property
    def size(self) -> int:
        return self.region.numel * self.item_bytes


class Share:
    """This process's share of a run's tensors.

    Args:
        pushed: what is pushed; only what lies in this process's memory is looked at.
        layout: that of the run: whole tensors.
        world: the processes that push.

    Attributes:
        pushed: as given.
        boxes: what this process declares; None: everything.
        pieces: the same in its memory.

    Raises:
        ValueError: a tensor's values are in no process, or some are in none of the processes that push.
    """

    def __init__(self, pushed: PushedTensors, layout: Layout, world: World) -> None:
        self.pushed = pushed
        self.boxes: list[Box] | None = None
        if world.size == 1:
            self.pieces = [_whole(pushed, index) for index in range(len(pushed.tensors))]
            return
        self.pieces = sorted(_own_pieces(pushed, layout, world), key=lambda own: own.tensor)
        self.boxes = [Box(pushed.tensors[own.tensor].name, own.piece.offset, own.piece.extent) for own in self.pieces]

    def sources(self, places: Sequence[PlacedBox]) -> Sources:
        """Return where the bytes of these boxes come from."""
        return Sources(self.pushed, [self.pieces[place.box_index] for place in places])

    def not_finite(self, layout: Layout) -> list[str]:
        """Return the names of averaged tensors that have infinities or NaN here, or get them in their wire dtype."""
        found = []
        with plain_torch():
            for own in self.pieces:
                placed = layout.tensors[own.tensor]
                if placed.policy == Policy.AVERAGE and placed.name not in found:
                    view = own.piece.view(self.pushed.slot(own.tensor).memory)
                    if not torch.isfinite(view.to(torch_dtype(placed.wire_dtype))).all():
                        found.append(placed.name)
        return found


class Sources:
    """Views of the tensors' memory, in the order of a step's bytes."""

    def __init__(self, pushed: PushedTensors, pieces: Sequence[OwnPiece]) -> None:
        self._pushed = pushed
        self._indices = sorted({own.tensor for own in pieces})
        position = {index: number for number, index in enumerate(self._indices)}
        self._pieces = [(position[own.tensor], own.piece) for own in pieces]
        self._forms = [_form(tensor) for tensor in self.live()]

    def live(self) -> list[torch.Tensor]:
        """Return the tensors as they are now. Raises RuntimeError when `weights` gives one no more."""
        return self._pushed.live(self._indices)

    def views(self, live: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the views of what `live` has returned; to be called without autograd.

        Raises:
            RuntimeError: a tensor has another shape, kind of dtype or device than before; the message names it.
        """
        forms = [_form(tensor) for tensor in live]
        if forms != self._forms:
            self._check_changed(forms)
            self._forms = forms
        return [piece.view(memory(live[index])) for index, piece in self._pieces]

    def _check_changed(self, forms: Sequence[_Form]) -> None:
        for index, form, before in zip(self._indices, forms, self._forms, strict=True):
            if form[1:] != before[1:] or not _casts(before[0], form[0]):
                raise RuntimeError(
                    f"tensor {self._pushed.tensors[index].name!r} has {_text(form)}, {_text(before)} when it was "
                    "registered: register() a model that has changed so as another run"
                )


# dtype, shape, device, placements of a DTensor
_Form = tuple[torch.dtype, torch.Size, torch.device, tuple[object, ...] | None]


def _form(tensor: torch.Tensor) -> _Form:
    placements = None if type(tensor) in PLAIN else getattr(as_dtensor(tensor), "placements", None)
    return tensor.dtype, tensor.shape, tensor.device, placements


def _text(form: _Form) -> str:
    placed = "" if form[3] is None else f", placed as {form[3]}"
    return f"shape {list(form[1])} of {form[0]} on {form[2]}{placed}"


def _casts(before: torch.dtype, now: torch.dtype) -> bool:
    """Return whether a tensor may change its dtype so: it travels in the one that it was registered with."""
    if before == now:
        return True
    return (before.is_floating_point and now.is_floating_point) or (before.is_complex and now.is_complex)


def _whole(pushed: PushedTensors, index: int) -> OwnPiece:
    named = pushed.tensors[index]
    pieces = [piece for region in pushed.slot(index).regions() for piece in region.pieces(0, region.numel)]
    whole = tuple(named.shape)
    if [piece.extent for piece in pieces] != [whole]:
        raise ValueError(
            f"tensor {named.name!r} is sharded over several processes, and this one would push alone: let all of "
            "them push (replica=None), each its part"
        )
    return OwnPiece(index, pieces[0])


def _own_pieces(pushed: PushedTensors, layout: Layout, world: World) -> Iterator[OwnPiece]:
    """Cut what is held by the same processes evenly, apart from that what is sent only once."""
    groups: dict[tuple[tuple[int, ...] | None, bool], list[_Held]] = {}
    for index, (named, placed) in enumerate(zip(pushed.tensors, layout.tensors, strict=True)):
        slot = pushed.slot(index)
        replicas = slot.replicas(world.size)
        group = groups.setdefault((replicas, placed.policy == Policy.COPY_ONCE), [])
        from_first = replicas is None and not named.is_parameter
        group += [_Held(index, region, item_bytes(placed.wire_dtype), from_first) for region in slot.regions()]
    for (replicas, _), held in groups.items():
        ranks = range(world.size) if replicas is None else replicas
        if held:
            yield from _cut(held, len(ranks), ranks.index(world.rank))


def _cut(held: Sequence[_Held], count: int, position: int) -> Iterator[OwnPiece]:
    """Yield the `position`-th of `count` parts of equal size; the first one has all that is `from_first`."""
    held = sorted(held, key=lambda each: not each.from_first)
    total = sum(each.size for each in held)
    first = max(total // count, sum(each.size for each in held if each.from_first))
    begin, end = _bound(total, first, count, position), _bound(total, first, count, position + 1)
    offset = 0
    for each in held:
        start, stop = (_element(each, bound - offset) for bound in (begin, end))
        for piece in each.region.pieces(start, stop):
            yield OwnPiece(each.tensor, piece)
        offset += each.size


def _bound(total: int, first: int, count: int, position: int) -> int:
    """Return the byte at which a part begins."""
    if position == 0:
        return 0
    return total if position == count else first + (total - first) * (position - 1) // (count - 1)


def _element(held: _Held, offset: int) -> int:
    """Return the element that a cut at this byte falls before; both sides of the cut find the same."""
    return min(max(offset // held.item_bytes, 0), held.region.numel)
