"""The one message that is written by hand: an `UpdateRequest` that holds a chunk.

    12 | length of the chunk | 08 step | 10 offset | 1d crc32c (4 bytes) | 7a length of data | data …

Joining these few bytes with slices of the tensors makes the finished message in one copy; building it through
a message class would copy the data three times and halve the speed of the upload. Fields that are 0 are left out,
so the bytes are those that any protobuf library writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .codec import varint

Bytes1D = npt.NDArray[np.uint8]
# Of any C-contiguous buffer, continued from an earlier one's.
Checksum = Callable[[Any, int], int]


def chunk_message(step: int, offset: int, parts: Sequence[Any], size: int, checksum: Checksum | None) -> bytes:
    """Return `UpdateRequest{chunk{step, offset, crc32c, data}}`.

    Args:
        step: the trainer's step.
        offset: where the data starts in the step, bytes.
        parts: the data in pieces, each with a C-contiguous buffer of any element type.
        size: their length together, bytes.
        checksum: crc32c, or None to send none.
    """
    head = bytearray()
    if step:
        head += b"\x08" + varint(step)
    if offset:
        head += b"\x10" + varint(offset)
    if checksum is not None:
        crc = 0
        for part in parts:
            crc = checksum(part, crc)
        head += b"\x1d" + crc.to_bytes(4, "little")
    if size:
        head += b"\x7a" + varint(size)
    return b"".join([b"\x12", varint(len(head) + size), head, *parts])
