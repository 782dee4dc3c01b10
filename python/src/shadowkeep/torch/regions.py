"""Parts of a tensor that lie in this process's memory, and the views that show them.

A contiguous range of a tensor's elements in row-major order is at most 2·n - 1 boxes, n its number of dimensions:

    . . x x x    the end of a row
    x x x x x    whole rows
    x x . . .    the beginning of a row
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

Extents = tuple[int, ...]


class Piece(NamedTuple):
    """A box of a tensor in this process's memory.

    Attributes:
        offset: its first element in the tensor.
        extent: its size.
        slices: where it lies in the local memory, which is of any shape; None: it is all of it, in its own shape.
    """

    offset: Extents
    extent: Extents
    slices: tuple[slice, ...] | None

    def view(self, local: torch.Tensor) -> torch.Tensor:
        """Return the box as a view of the local memory."""
        return local if self.slices is None else local[self.slices].view(self.extent)

    def of(self, whole: torch.Tensor) -> torch.Tensor:
        """Return the box as a view of the whole tensor."""
        inside = zip(self.offset, self.extent, strict=True)
        return whole[tuple(slice(first, first + count) for first, count in inside)]


class BoxRegion(NamedTuple):
    """A box of a tensor that is a box of the local memory, too, which begins at `local_offset` there."""

    offset: Extents
    extent: Extents
    local_offset: Extents
    is_all: bool

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.extent)

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield the boxes that are its elements `start` to `stop`, row by row."""
        if self.is_all and (start, stop) == (0, self.numel):
            yield Piece(self.offset, self.extent, None)
            return
        for inner, extent in range_boxes(self.extent, start, stop):
            offset = tuple(map(sum, zip(self.offset, inner, strict=True)))
            begin = map(sum, zip(self.local_offset, inner, strict=True))
            slices = tuple(slice(first, first + count) for first, count in zip(begin, extent, strict=True))
            yield Piece(offset, extent, slices)


class RangeRegion(NamedTuple):
    """Consecutive elements of a tensor of this shape, from `first` on; the local memory has just these, flat."""

    shape: Extents
    first: int
    numel: int

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield the boxes that are its elements `start` to `stop`."""
        for offset, extent in range_boxes(self.shape, self.first + start, self.first + stop):
            begin = _flat_index(self.shape, offset) - self.first
            yield Piece(offset, extent, (slice(begin, begin + math.prod(extent)),))


Region = BoxRegion | RangeRegion


def range_boxes(shape: Extents, start: int, stop: int) -> Iterator[tuple[Extents, Extents]]:
    """Yield the offsets and extents of boxes that are the elements `start` to `stop` in row-major order."""
    if start >= stop:
        return
    if (start, stop) == (0, math.prod(shape)):
        yield (0,) * len(shape), shape
        return
    row = math.prod(shape[1:])
    first, last = -(-start // row), stop // row
    if first > last:
        # It begins and ends inside one row.
        yield from _in_row(shape, last, start - last * row, stop - last * row)
        return
    yield from _in_row(shape, first - 1, start - (first - 1) * row, row) if first * row > start else ()
    if first < last:
        yield (first, *(0,) * (len(shape) - 1)), (last - first, *shape[1:])
    yield from _in_row(shape, last, 0, stop - last * row)


def _in_row(shape: Extents, index: int, start: int, stop: int) -> Iterator[tuple[Extents, Extents]]:
    for offset, extent in range_boxes(shape[1:], start, stop):
        yield (index, *offset), (1, *extent)


def _flat_index(shape: Sequence[int], offset: Sequence[int]) -> int:
    index = 0
    for extent, coordinate in zip(shape, offset, strict=True):
        index = index * extent + coordinate
    return index
