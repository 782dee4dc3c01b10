"""Which parts of a run's tensors one writer has, and where they lie in the bytes of its step.

    offset  0              64·i           64·j      step_bytes   first_step_bytes (multiples of 64)
            | box 0 ....   | box 3 ...  . | box 4 . | box 1 ..  |      . = zeros up to the next multiple of 64

Boxes lie in the declared order, those of tensors of policy COPY_ONCE (here box 1) behind all others, each row-major
in itself and little-endian. Empty boxes (here box 2), and those that another writer of their replica group sends,
take no bytes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from . import wire
from .dtypes import item_bytes
from .layout import Layout, PlacedTensor, gap_after
from .wire import DType, Policy

REPLICA_GROUP_MAX = (1 << 32) - 1


class Box(NamedTuple):
    """A rectangle of a tensor.

    Attributes:
        tensor: the tensor's name.
        offset: its first element, one index per dimension.
        extent: its size, one per dimension; 0 is legal, the box is empty. Both empty: the whole tensor.
        replica_group: writers that hold the same box name the same group, not 0; the service says which of them sends.
            Without a meaning in reads.
    """

    tensor: str
    offset: tuple[int, ...] = ()
    extent: tuple[int, ...] = ()
    replica_group: int = 0


@dataclass(frozen=True, slots=True)
class PlacedBox:
    """A box with its place in a writer's step: `dtype` is the model's, `wire_dtype` that of its bytes.

    `box_index` counts the declared boxes, or the layout's tensors where no boxes were declared; `shape` is the extents.
    """

    box_index: int
    name: str
    shape: tuple[int, ...]
    dtype: DType
    wire_dtype: DType
    offset: int
    size_bytes: int

    @property
    def gap_bytes(self) -> int:
        """Zeros after it."""
        return gap_after(self.size_bytes)


class Part:
    """What one writer sends, and its byte space.

    Attributes:
        places: the boxes that have bytes, in the order of the byte space.
        each_step: the first ones of `places`, which travel with every step.
        step_bytes: length of a step, without the tensors that are sent once.
        first_step_bytes: its length with them.
    """

    def __init__(self, every: Sequence[PlacedBox], once: Sequence[PlacedBox], step_bytes: int, total: int) -> None:
        self.places = (*every, *once)
        self.each_step = tuple(every)
        self.step_bytes = step_bytes
        self.first_step_bytes = total

    @classmethod
    def whole(cls, layout: Layout) -> Part:
        """Return the part of the only writer of a run: the whole layout, its empty tensors among the places."""
        index = {tensor.name: number for number, tensor in enumerate(layout.tensors)}
        places = [
            PlacedBox(index[t.name], t.name, t.shape, t.dtype, t.wire_dtype, t.offset, t.size_bytes)
            for t in layout.sent
        ]
        every = len(layout.each_step)
        return cls(places[:every], places[every:], layout.step_bytes, layout.first_step_bytes)

    @classmethod
    def of_boxes(cls, layout: Layout, boxes: Sequence[Box], left_out: Collection[int] = ()) -> Part:
        """Return the part of a writer that has declared `boxes`, without those that others send."""
        tensors = {tensor.name: tensor for tensor in layout.tensors}
        left = frozenset(left_out)
        sent = [(index, tensors[box.tensor], box) for index, box in enumerate(boxes) if index not in left]
        every, step_bytes = _place([row for row in sent if row[1].policy != Policy.COPY_ONCE], 0)
        once, total = _place([row for row in sent if row[1].policy == Policy.COPY_ONCE], step_bytes)
        return cls(every, once, step_bytes, total)


def _place(rows: Sequence[tuple[int, PlacedTensor, Box]], offset: int) -> tuple[list[PlacedBox], int]:
    """Lay boxes one behind the other from `offset` on; return them and where they end."""
    places = []
    for index, tensor, box in rows:
        shape = box.extent or tensor.shape
        size = math.prod(shape) * item_bytes(tensor.wire_dtype)
        if size > 0:
            places.append(PlacedBox(index, tensor.name, shape, tensor.dtype, tensor.wire_dtype, offset, size))
            offset += size + gap_after(size)
    return places, offset


def checked_boxes(layout: Layout, boxes: Sequence[Box]) -> tuple[Box, ...]:
    """Return a writer's boxes, checked.

    Raises:
        ValueError: a box that is not inside a tensor that is sent; the message names the box, the tensor and the bound.
    """
    shapes = {tensor.name: tensor.shape for tensor in layout.tensors}
    ignored = {tensor.name for tensor in layout.tensors if tensor.policy == Policy.IGNORE}
    checked = tuple(check_box(number, box, shapes) for number, box in enumerate(boxes))
    for number, box in enumerate(checked):
        if box.tensor in ignored:
            raise ValueError(f"box {number} is of tensor {box.tensor!r}, which has policy IGNORE and is not sent")
    return checked


def check_box(number: int, box: Box, shapes: dict[str, tuple[int, ...]]) -> Box:
    """Return the `number`-th box as integers, checked against the tensors' shapes."""
    name = box.tensor
    if name not in shapes:
        raise ValueError(f"box {number} is of tensor {name!r}, the run has none of that name")
    try:
        offset, extent = tuple(map(operator.index, box.offset)), tuple(map(operator.index, box.extent))
        group = operator.index(box.replica_group)
    except TypeError:
        raise TypeError(f"box {number} of tensor {name!r} must be made of integers, got {box}") from None
    shape = shapes[name]
    if (offset or extent) and not len(offset) == len(extent) == len(shape):
        raise ValueError(
            f"box {number} of tensor {name!r} has offset {list(offset)} and extent {list(extent)}, "
            f"the tensor has {len(shape)} dimensions"
        )
    for dimension, (first, count, size) in enumerate(zip(offset, extent, shape, strict=False)):
        if first < 0 or count < 0 or first + count > size:
            raise ValueError(
                f"box {number} of tensor {name!r} goes from {first} to {first + count} in dimension {dimension}, "
                f"the tensor from 0 to {size}"
            )
    if not 0 <= group <= REPLICA_GROUP_MAX:
        raise ValueError(f"replica_group of box {number} must be from 0 to {REPLICA_GROUP_MAX}, got {group}")
    return Box(name, offset, extent, group)


def to_messages(boxes: Sequence[Box], indices: dict[str, int]) -> list[wire.Box]:
    """Return boxes as they travel; `indices` are those of the run's tensors."""
    return [wire.Box(indices[box.tensor], list(box.offset), list(box.extent), box.replica_group) for box in boxes]
