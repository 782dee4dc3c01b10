"""Dtype names and conversions, against ml_dtypes and closed forms."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from shadowkeep.dtypes import BLOCK_ELEMENTS, converter, item_bytes, numpy_dtype, parse_dtype
from shadowkeep.wire import DType


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("F32", DType.F32),
        ("float32", DType.F32),
        (np.float32, DType.F32),
        (np.dtype(">f8"), DType.F64),
        ("BF16", DType.BF16),
        ("bfloat16", DType.BF16),
        (bool, DType.BOOL),
        (DType.F8_E5M2, DType.F8_E5M2),
    ],
)
def test_parse_dtype(value: Any, expected: DType) -> None:
    assert parse_dtype(value) == expected


@pytest.mark.parametrize(
    "value", ["UNSPECIFIED", DType.UNSPECIFIED, "complex64", np.complex64, object, "nonsense", None.__class__]
)
def test_parse_dtype_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match="is not supported"):
        parse_dtype(value)


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype])
def test_item_bytes_are_numpys(dtype: DType) -> None:
    pytest.importorskip("ml_dtypes")
    assert item_bytes(dtype) == numpy_dtype(dtype).itemsize


def every_upper_half() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return each BF16 value, and the values just below, at and above the middle to the next one."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return (upper[:, None] | lower[None, :]).reshape(-1).view(np.float32)


def test_bf16_rounds_to_nearest_even_and_keeps_nan() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = every_upper_half()
    assert values.size > BLOCK_ELEMENTS
    convert = converter(DType.F32, DType.BF16)
    assert convert is not None
    ours = convert(values)
    with np.errstate(all="ignore"):
        theirs = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    nan = np.isnan(values)
    assert np.array_equal(ours[~nan], theirs[~nan])
    assert np.isnan(ours.view(ml_dtypes.bfloat16)[nan].astype(np.float32)).all()


def test_f16_overflow_becomes_infinite() -> None:
    convert = converter(DType.F32, DType.F16)
    assert convert is not None
    assert convert(np.array([1e6, -1e6, 65504, np.nan], np.float32)).tolist()[:3] == [np.inf, -np.inf, 65504]


def test_same_dtype_needs_no_conversion() -> None:
    assert converter(DType.F32, DType.F32) is None


def test_bf16_without_ml_dtypes_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match='dtype="F32"'):
        numpy_dtype(DType.BF16)
