"""Averaged weights of one exact step."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from . import wire
from .dtypes import numpy_dtype
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
        specs: name, dtype, shape, offset in `buffer` and whether averaged, per tensor or box; of a box, `shape` is its
            extents, `box_offset` its place in the tensor, and `global_shape` the tensor's shape.
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
        """The arrays by name. Raises TypeError for BF16 and F8 when `ml_dtypes` is not installed.

        Of a read by boxes that has several boxes of a tensor it raises ValueError: `arrays` has them.
        """
        arrays: dict[str, npt.NDArray[Any]] = {}
        for spec, array in zip(self.specs, self.arrays, strict=True):
            if spec.name in arrays:
                raise ValueError(f"tensor {spec.name!r} was read by several boxes: use Shadow.arrays")
            arrays[spec.name] = array
        return arrays

    @cached_property
    def arrays(self) -> list[npt.NDArray[Any]]:
        """The arrays in the order of `specs`, which is that of the boxes of a read by boxes."""
        return [
            np.ndarray(spec.shape, numpy_dtype(spec.dtype), buffer=self.buffer.data, offset=spec.offset)
            for spec in self.specs
        ]

    def __repr__(self) -> str:
        return (
            f"<Shadow {self.average!r} of run {self.run!r}: step {self.step}, {self.num_updates} updates, "
            f"{len(self.specs)} tensors, {self.buffer.nbytes} bytes>"
        )


def _aligned(size: int) -> wire.Bytes1D:
    """Return `size` bytes that start on a multiple of 64."""
    raw = np.empty(size + ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[start : start + size]
