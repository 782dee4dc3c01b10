"""Averaged weights of one exact step, and how they are received."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from . import wire
from .dtypes import item_bytes, numpy_dtype
from .errors import DataLossError, InternalError
from .layout import ALIGNMENT_BYTES


class Shadow:
    """Averaged weights of one committed step. All bytes lie in one buffer; `tensors` are views of it.

    Attributes:
        run: the run's name.
        average: the average's name.
        step: the trainer's step that these weights are of.
        num_updates: updates folded into this average.
        weight: w_k of the last folded update; 1 when it was assigned; 0 of a combination.
        movement: how the last fold moved the average: `distance_rel`, ||p - s|| / ||s|| of the weights p that came and
            the shadow s before, and `changed_share` of the elements; near 0 the average has stopped moving. Measured on
            a sample; None before the first fold and of a combination.
        contributions: of a combination its parts, each with average, step, gamma and weight; the weights sum to one.
        fit_error: of a combination the distance of its profile from the one asked for, relative to that one's norm.
        generation: the trainer's generation.
        version: identifies this state of the run.
        durable_step: newest step that a crash of the service cannot take back.
        specs: name, dtype, shape, offset in `buffer` and whether averaged, per tensor.
        buffer: the bytes, 64-byte aligned.
    """

    def __init__(self, header: wire.ShadowHeader, reuse: Shadow | None = None) -> None:
        self.run = header.run
        self.average = header.average
        self.step = header.step
        self.num_updates = header.num_updates
        self.weight = header.weight
        self.generation = header.generation
        self.version = header.version
        self.durable_step = header.durable_step
        self.movement = header.movement
        self.contributions = tuple(header.contributions)
        self.fit_error = header.fit_error
        self.specs = tuple(header.tensors)
        fits = reuse is not None and reuse._space.nbytes >= header.total_bytes
        self._space: wire.Bytes1D = reuse._space if reuse is not None and fits else _aligned(header.total_bytes)
        self.buffer = self._space[: header.total_bytes]

    @cached_property
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name. Raises TypeError for BF16 and F8 when `ml_dtypes` is not installed."""
        arrays = {}
        for spec in self.specs:
            dtype = numpy_dtype(spec.dtype)
            arrays[spec.name] = np.ndarray(spec.shape, dtype, buffer=self.buffer.data, offset=spec.offset)
        return arrays

    def __repr__(self) -> str:
        return (
            f"<Shadow {self.average!r} of run {self.run!r}: step {self.step}, {self.num_updates} updates, "
            f"{len(self.specs)} tensors, {self.buffer.nbytes} bytes>"
        )


def receive(
    responses: Iterator[wire.GetShadowResponse], checksum: wire.Checksum | None, reuse: Shadow | None = None
) -> Shadow:
    """Assemble a read: one header, chunks in rising offset, one end."""
    first = next(responses, None)
    if first is None or first.header is None:
        raise InternalError("the read does not begin with a header")
    shadow = Shadow(first.header, reuse)
    _check_places(shadow)
    received = 0
    for response in responses:
        if response.chunk is not None:
            received = _take(shadow, response.chunk, received, checksum)
    if received != shadow.buffer.nbytes:
        raise DataLossError(f"the read ended after {received} of {shadow.buffer.nbytes} bytes")
    return shadow


def _take(shadow: Shadow, chunk: wire.ShadowChunk, received: int, checksum: wire.Checksum | None) -> int:
    data = np.frombuffer(chunk.data, np.uint8)
    end = received + len(data)
    if chunk.offset != received or end > shadow.buffer.nbytes:
        raise InternalError(
            f"chunk at offset {chunk.offset} of {len(data)} bytes, expected at {received} of {shadow.buffer.nbytes}"
        )
    if checksum is not None and chunk.crc32c is not None and checksum(data, 0) != chunk.crc32c:
        raise DataLossError(f"crc32c of the chunk at offset {received} differs", reason="CRC_MISMATCH")
    shadow.buffer[received:end] = data
    return end


def _check_places(shadow: Shadow) -> None:
    for spec in shadow.specs:
        known = isinstance(spec.dtype, wire.DType) and spec.dtype != wire.DType.UNSPECIFIED
        if not known or spec.offset + math.prod(spec.shape) * item_bytes(spec.dtype) > shadow.buffer.nbytes:
            raise InternalError(
                f"tensor {spec.name!r} of dtype {spec.dtype!r} and shape {spec.shape} at offset {spec.offset} "
                f"does not fit into {shadow.buffer.nbytes} bytes"
            )


def _aligned(size: int) -> wire.Bytes1D:
    """Return `size` bytes that start on a multiple of 64."""
    raw = np.empty(size + ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[start : start + size]
