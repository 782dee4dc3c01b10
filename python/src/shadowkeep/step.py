"""From the caller's arrays to a step: everything is checked first, then converted tensor by tensor as it is sent."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .chunks import ArraySource
from .dtypes import ML_DTYPES, converter, numpy_dtype, parse_dtype
from .errors import FailedPreconditionError
from .layout import Layout, PlacedTensor

Tensors = Mapping[str, npt.NDArray[Any]]

_is_contiguous = operator.attrgetter("flags.c_contiguous")


class StepChecker:
    """Checks the arrays of each step that sends the tensors `sent` of a layout, the first ones of its byte space.

    A model of 10,000 small tensors is checked in every step, so the common case (each array just as it travels) is
    decided by comparing whole lists; only a list that differs is gone through one by one.
    """

    def __init__(self, layout: Layout, sent: Sequence[PlacedTensor] | None = None) -> None:
        sent = layout.sent if sent is None else sent
        self._layout = layout
        self._sent = sent
        self._names = [tensor.name for tensor in sent]
        self._shapes = [tensor.shape for tensor in sent]
        self._wire_dtypes = [_numpy_dtype_or_none(tensor) for tensor in sent]
        # Those that this step leaves out may be given all the same.
        self._others = [tensor.name for tensor in layout.sent[len(sent) :]]

    def source(self, tensors: Tensors) -> ArraySource:
        """Return the step's arrays as they travel. Raises LAYOUT_MISMATCH, which names the first that does not fit."""
        if self._travels_as_it_is(tensors):
            return [tensors[name] for name in self._names].__getitem__
        return _ConvertingSource(self._sent, self._check(tensors))

    def _travels_as_it_is(self, tensors: Tensors) -> bool:
        try:
            arrays = [tensors[name] for name in self._names]
            return (
                len(arrays) + sum(name in tensors for name in self._others) == len(tensors)
                and [array.shape for array in arrays] == self._shapes
                and [array.dtype for array in arrays] == self._wire_dtypes
                and all(map(_is_contiguous, arrays))
            )
        except (KeyError, AttributeError):
            return False

    def _check(self, tensors: Tensors) -> list[npt.NDArray[Any]]:
        arrays = []
        for tensor in self._sent:
            if tensor.name not in tensors:
                raise _mismatch(tensor.name, "is missing")
            array = np.asarray(tensors[tensor.name])
            if array.shape != tensor.shape:
                raise _mismatch(tensor.name, f"has shape {list(array.shape)}, {list(tensor.shape)} in the run")
            dtype = parse_dtype(array.dtype)
            if dtype not in (tensor.dtype, tensor.wire_dtype):
                raise _mismatch(tensor.name, f"has dtype {dtype.name}, {tensor.dtype.name} in the run")
            arrays.append(array)
        known = {tensor.name for tensor in self._layout.tensors}
        for name in tensors:
            if name not in known:
                raise _mismatch(name, "is not in the run")
        return arrays


class _ConvertingSource:
    """Makes arrays ready to travel when they are asked for; holds one at a time."""

    def __init__(self, sent: Sequence[PlacedTensor], arrays: list[npt.NDArray[Any]]) -> None:
        self._sent = sent
        self._arrays = arrays
        self._held = -1
        self._ready: npt.NDArray[Any] = np.empty(0)

    def __call__(self, index: int) -> npt.NDArray[Any]:
        if index != self._held:
            self._ready = _ready_to_travel(self._arrays[index], self._sent[index])
            self._held = index
        return self._ready


def _ready_to_travel(array: npt.NDArray[Any], tensor: PlacedTensor) -> npt.NDArray[Any]:
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    array = np.ascontiguousarray(array)
    convert = converter(parse_dtype(array.dtype), tensor.wire_dtype)
    array = array if convert is None else convert(array)
    # Types of ml_dtypes have no buffer of their own.
    return array.reshape(-1).view(np.uint8)


def _numpy_dtype_or_none(tensor: PlacedTensor) -> np.dtype[Any] | None:
    """Return the dtype of arrays that travel as they are; None, which equals no dtype, for those of ml_dtypes."""
    return None if tensor.wire_dtype in ML_DTYPES else numpy_dtype(tensor.wire_dtype)


def _mismatch(name: str, problem: str) -> FailedPreconditionError:
    return FailedPreconditionError(f"tensor {name!r} {problem}", reason="LAYOUT_MISMATCH", metadata={"tensor": name})
