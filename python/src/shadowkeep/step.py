"""From the caller's arrays to a step: everything is checked first, then converted tensor by tensor as it is sent."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .boxes import PlacedBox
from .chunks import ArraySource
from .dtypes import ML_DTYPES, converter, numpy_dtype, parse_dtype
from .errors import FailedPreconditionError

# By the tensors' names; or one per declared box, None where the box is not sent.
Tensors = Mapping[str, npt.NDArray[Any]]
BoxArrays = Sequence[npt.NDArray[Any] | None]
Arrays = Tensors | BoxArrays

_is_contiguous = operator.attrgetter("flags.c_contiguous")


class StepChecker:
    """Checks the arrays of each step that sends the boxes `sent`.

    A model of 10,000 small tensors is checked in every step, so the common case (each array just as it travels) is
    decided by comparing whole lists; only a list that differs is gone through one by one.

    Args:
        sent: what is sent, in the order of the byte space.
        names: of all tensors of the layout, for arrays that are given by name.
        others: names of tensors that are sent in other steps; they may be given all the same.
        box_count: of the declared boxes, for arrays that are given one per box; None: they are given by name.
    """

    def __init__(
        self,
        sent: Sequence[PlacedBox],
        names: Collection[str],
        others: Sequence[str] = (),
        box_count: int | None = None,
    ) -> None:
        self._sent = sent
        self._names = names
        self._others = others
        self._box_count = box_count
        self._keys: list[Any] = [place.name if box_count is None else place.box_index for place in sent]
        self._shapes = [place.shape for place in sent]
        self._wire_dtypes = [_numpy_dtype_or_none(place) for place in sent]

    def source(self, arrays: Arrays) -> ArraySource:
        """Return the step's arrays as they travel. Raises LAYOUT_MISMATCH, which names the first that does not fit."""
        given: Any = arrays
        if isinstance(arrays, Mapping) != (self._box_count is None):
            by = "name" if self._box_count is None else "box, in a sequence"
            raise TypeError(f"the arrays of a step must be given by {by}, got {type(arrays).__name__}")
        if self._travels_as_it_is(given):
            return [given[key] for key in self._keys].__getitem__
        return _ConvertingSource(self._sent, self._check(given))

    def _travels_as_it_is(self, given: Any) -> bool:
        try:
            arrays = [given[key] for key in self._keys]
            return (
                len(given) == self._expected_count(given)
                and [array.shape for array in arrays] == self._shapes
                and [array.dtype for array in arrays] == self._wire_dtypes
                and all(map(_is_contiguous, arrays))
            )
        except (LookupError, AttributeError):
            return False

    def _expected_count(self, given: Any) -> int:
        if self._box_count is not None:
            return self._box_count
        return len(self._keys) + sum(name in given for name in self._others)

    def _check(self, given: Any) -> list[npt.NDArray[Any]]:
        if self._box_count is not None and len(given) != self._box_count:
            raise _mismatch("", f"{len(given)} arrays were given for {self._box_count} boxes")
        arrays = [
            self._check_array(place, self._find(given, key)) for place, key in zip(self._sent, self._keys, strict=True)
        ]
        if self._box_count is None:
            for name in given:
                if name not in self._names:
                    raise _mismatch(name, f"tensor {name!r} is not in the run")
        return arrays

    def _find(self, given: Any, key: Any) -> Any:
        return given[key] if self._box_count is not None else given.get(key)

    def _check_array(self, place: PlacedBox, found: Any) -> npt.NDArray[Any]:
        what = f"tensor {place.name!r}"
        if self._box_count is not None:
            what = f"box {place.box_index} of {what}"
        if found is None:
            raise _mismatch(place.name, f"{what} is missing")
        array = np.asarray(found)
        if array.shape != place.shape:
            raise _mismatch(place.name, f"{what} has shape {list(array.shape)}, {list(place.shape)} in the run")
        dtype = parse_dtype(array.dtype)
        if dtype not in (place.dtype, place.wire_dtype):
            raise _mismatch(place.name, f"{what} has dtype {dtype.name}, {place.dtype.name} in the run")
        return array


class _ConvertingSource:
    """Makes arrays ready to travel when they are asked for; holds one at a time."""

    def __init__(self, sent: Sequence[PlacedBox], arrays: list[npt.NDArray[Any]]) -> None:
        self._sent = sent
        self._arrays = arrays
        self._held = -1
        self._ready: npt.NDArray[Any] = np.empty(0)

    def __call__(self, index: int) -> npt.NDArray[Any]:
        if index != self._held:
            self._ready = _ready_to_travel(self._arrays[index], self._sent[index])
            self._held = index
        return self._ready


def _ready_to_travel(array: npt.NDArray[Any], place: PlacedBox) -> npt.NDArray[Any]:
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    array = np.ascontiguousarray(array)
    convert = converter(parse_dtype(array.dtype), place.wire_dtype)
    array = array if convert is None else convert(array)
    # Types of ml_dtypes have no buffer of their own.
    return array.reshape(-1).view(np.uint8)


def _numpy_dtype_or_none(place: PlacedBox) -> np.dtype[Any] | None:
    """Return the dtype of arrays that travel as they are; None, which equals no dtype, for those of ml_dtypes."""
    return None if place.wire_dtype in ML_DTYPES else numpy_dtype(place.wire_dtype)


def _mismatch(name: str, problem: str) -> FailedPreconditionError:
    return FailedPreconditionError(problem, reason="LAYOUT_MISMATCH", metadata={"tensor": name} if name else {})
