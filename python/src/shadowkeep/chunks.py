"""How a step is cut into chunks: planned once per run, filled in each step.

The plan says, for each chunk, which bytes of which tensors it has and how many zeros follow. Filling it copies
nothing: the parts are the arrays themselves or slices of them, so that one join makes the finished message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

# The array of the i-th tensor that is sent: C-contiguous, little-endian, in the wire dtype.
ArraySource = Callable[[int], npt.NDArray[Any]]
# An array or zeros; both have a buffer, which numpy's stubs do not say before Python 3.12.
Part = Any


class Segment(NamedTuple):
    """Bytes `start` to `stop` of a tensor, then zeros."""

    tensor: int
    start: int
    stop: int
    whole: bool
    zeros: bytes


class PlannedChunk(NamedTuple):
    """Where a chunk lies in the step, bytes, and what it is made of."""

    offset: int
    size: int
    segments: list[Segment]


def plan_chunks(tensors: Iterable[tuple[int, int]], chunk_bytes: int) -> list[PlannedChunk]:
    """Cut a step into chunks of `chunk_bytes`, the last one shorter; `tensors` are (bytes, zeros after them)."""
    chunks: list[PlannedChunk] = []
    segments: list[Segment] = []
    offset = filled = 0
    for index, (size, gap) in enumerate(tensors):
        position = 0
        while position < size + gap:
            end = min(size + gap, position + chunk_bytes - filled)
            segments.append(_segment(index, size, position, end))
            filled += end - position
            position = end
            if filled == chunk_bytes:
                chunks.append(PlannedChunk(offset, filled, segments))
                offset, filled, segments = offset + filled, 0, []
    if segments:
        chunks.append(PlannedChunk(offset, filled, segments))
    return chunks


def _segment(index: int, size: int, position: int, end: int) -> Segment:
    """Return the part of a tensor and its gap that lies from `position` to `end`; a cut may fall into the gap."""
    start, stop = min(position, size), min(end, size)
    return Segment(index, start, stop, stop - start == size, bytes((end - position) - (stop - start)))


def chunks_from(plan: Iterable[PlannedChunk], offset: int) -> Iterator[PlannedChunk]:
    """Yield what is to be sent of a step of which the first `offset` bytes have arrived, wherever that is."""
    for chunk in plan:
        if chunk.offset >= offset:
            yield chunk
        elif chunk.offset + chunk.size > offset:
            yield _without_head(chunk, offset - chunk.offset)


def _without_head(chunk: PlannedChunk, head: int) -> PlannedChunk:
    """Return the chunk without its first `head` bytes."""
    segments = []
    skipped = head
    for tensor, start, stop, whole, zeros in chunk.segments:
        cut = min(skipped, stop - start)
        gap = min(skipped - cut, len(zeros))
        skipped -= cut + gap
        if start + cut < stop or gap < len(zeros):
            segments.append(Segment(tensor, start + cut, stop, whole and cut == 0, zeros[gap:]))
    return PlannedChunk(chunk.offset + head, chunk.size - head, segments)


def fill_chunk(chunk: PlannedChunk, array_of: ArraySource) -> list[Part]:
    """Return the chunk's bytes as parts to be joined."""
    parts: list[Part] = []
    for tensor, start, stop, whole, zeros in chunk.segments:
        if whole:
            parts.append(array_of(tensor))
        elif stop > start:
            parts.append(array_of(tensor).reshape(-1).view(np.uint8)[start:stop])
        if zeros:
            parts.append(zeros)
    return parts


def space_source(space: npt.NDArray[np.uint8]) -> ArraySource:
    """Return the source of a step that is one piece already."""
    return lambda _: space
