"""Dtypes by safetensors' names, their numpy counterparts, and the conversion of what travels.

numpy has no BF16 and no F8. Where the package `ml_dtypes` is installed its types stand for them; without it such
tensors can be pushed only by conversion (`wire_dtype="BF16"`), and read only with `dtype="F32"` or through
`shadowkeep.torch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .wire import DType

DTypeName = Literal[
    "BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"
]
FloatName = Literal["F16", "BF16", "F32", "F64"]
FLOATS = frozenset({DType.F16, DType.BF16, DType.F32, DType.F64})

_NUMPY_NAMES = {
    "bool": DType.BOOL, "uint8": DType.U8, "int8": DType.I8, "uint16": DType.U16, "int16": DType.I16,
    "uint32": DType.U32, "int32": DType.I32, "uint64": DType.U64, "int64": DType.I64,
    "float16": DType.F16, "float32": DType.F32, "float64": DType.F64,
    "bfloat16": DType.BF16, "float8_e4m3fn": DType.F8_E4M3, "float8_e5m2": DType.F8_E5M2,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _NUMPY_NAMES.items()}
ML_DTYPES = frozenset({DType.BF16, DType.F8_E4M3, DType.F8_E5M2})

# Elements converted at a time: the source, the result and one temporary stay in the second-level cache.
BLOCK_ELEMENTS = 1 << 16
BF16_NAN_BIT = 0x40


def parse_dtype(value: Any) -> DType:
    """Return the dtype of a name ("F32", "bfloat16"), a numpy dtype or scalar type. Raises ValueError for others."""
    if isinstance(value, DType) and value != DType.UNSPECIFIED:
        return value
    if isinstance(value, str) and value in DType.__members__ and value != "UNSPECIFIED":
        return DType[value]
    name = value if isinstance(value, str) and value in _NUMPY_NAMES else _numpy_name(value)
    if name not in _NUMPY_NAMES:
        raise ValueError(f"dtype {value!r} is not supported, one of {', '.join(_NUMPY_NAMES)} is")
    return _NUMPY_NAMES[name]


def _numpy_name(value: Any) -> str:
    try:
        return str(np.dtype(value).name)
    except TypeError:
        return repr(value)


def float_dtype(name: FloatName | None, option: str = "dtype") -> DType:
    """Return a floating-point dtype by its name; unspecified for None. Raises ValueError for others."""
    if name is None:
        return DType.UNSPECIFIED
    dtype = DType.__members__.get(name)
    if dtype not in FLOATS:
        raise ValueError(f'{option} must be "F16", "BF16", "F32" or "F64", got {name!r}')
    return dtype


def item_bytes(dtype: DType) -> int:
    """Return the bytes of one element."""
    if dtype in ML_DTYPES:
        return 2 if dtype == DType.BF16 else 1
    return np.dtype(_NAMES[dtype]).itemsize


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """Return the little-endian numpy dtype. Raises TypeError for BF16 and F8 when `ml_dtypes` is not installed."""
    if dtype not in ML_DTYPES:
        little_endian: np.dtype[Any] = np.dtype(_NAMES[dtype]).newbyteorder("<")
        return little_endian
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError(
            f'numpy has no {dtype.name}: install ml_dtypes, read with dtype="F32", or use shadowkeep.torch'
        ) from None
    extension: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _NAMES[dtype]))
    return extension


def converter(source: DType, target: DType) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None:
    """Return what turns a contiguous array of `source` into one of `target`'s bytes; None when they are the same.

    Rounds to nearest even; NaN stays NaN. From F64 to BF16 it goes through F32, which rounds twice.
    """
    if source == target:
        return None
    if target == DType.BF16:
        return _to_bf16
    return lambda array: _cast(array, numpy_dtype(target))


def _cast(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def _to_bf16(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bits of the nearest BF16, as uint16: the upper half of the F32, plus one when the lower half says so."""
    flat = array.reshape(-1)
    out = np.empty(flat.size, np.uint16)
    scratch = np.empty(min(flat.size, BLOCK_ELEMENTS), np.uint32)
    for start in range(0, flat.size, BLOCK_ELEMENTS):
        block = np.ascontiguousarray(_cast(flat[start : start + BLOCK_ELEMENTS], np.dtype(np.float32)))
        bits, rounded = block.view(np.uint32), scratch[: block.size]
        # (bits + 0x7fff + lowest bit that stays) >> 16, in place.
        np.right_shift(bits, 16, out=rounded)
        np.bitwise_and(rounded, 1, out=rounded)
        np.add(rounded, 0x7FFF, out=rounded)
        np.add(rounded, bits, out=rounded)
        np.right_shift(rounded, 16, out=rounded)
        out[start : start + BLOCK_ELEMENTS] = rounded
        nan = np.isnan(block)
        if nan.any():
            out[start : start + BLOCK_ELEMENTS][nan] = bits[nan] >> 16 | BF16_NAN_BIT
    return out
