"""torch's dtypes by safetensors' names, and which of them a model's run and its reads have."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..averages import PrecisionName
from ..dtypes import FLOATS, FloatName
from ..layout import TensorSpec
from ..wire import DType
from .names import NamedTensor
from .readable import way_out

_TORCH_DTYPES = {
    DType.BOOL: torch.bool, DType.U8: torch.uint8, DType.I8: torch.int8, DType.U16: torch.uint16,
    DType.I16: torch.int16, DType.U32: torch.uint32, DType.I32: torch.int32, DType.U64: torch.uint64,
    DType.I64: torch.int64, DType.F16: torch.float16, DType.BF16: torch.bfloat16, DType.F32: torch.float32,
    DType.F64: torch.float64, DType.F8_E4M3: torch.float8_e4m3fn, DType.F8_E5M2: torch.float8_e5m2,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _TORCH_DTYPES.items()}


def torch_dtype(dtype: DType) -> torch.dtype:
    """Return torch's dtype."""
    return _TORCH_DTYPES[dtype]


def tensor_spec(named: NamedTensor, tensor: torch.Tensor) -> TensorSpec:
    """Return a tensor's part of the layout. Raises TypeError, which names it, when it cannot travel."""
    dtype = tensor.dtype.to_real() if tensor.dtype.is_complex else tensor.dtype
    if dtype not in _NAMES:
        raise TypeError(
            f"tensor {named.name!r} has dtype {tensor.dtype}, which cannot be sent: convert it, or "
            f"{way_out(named.name, named.is_parameter)}"
        )
    if named.policy == "AVERAGE" and _NAMES[dtype] not in FLOATS:
        raise TypeError(
            f"tensor {named.name!r} has dtype {tensor.dtype}, which cannot be averaged: give its master with "
            f'weights=, send it as it is with policies={{"{named.name}": "COPY"}}, or '
            f"{way_out(named.name, named.is_parameter)}"
        )
    return TensorSpec(_NAMES[dtype], named.shape, named.policy)


def average_precision(specs: Iterable[TensorSpec]) -> PrecisionName:
    """float64 weights are averaged in float64, as the textbook class does; all others in float32."""
    return "F64" if any(spec.policy == "AVERAGE" and spec.dtype == DType.F64 for spec in specs) else "F32"


def read_dtype(tensors: Iterable[NamedTensor]) -> FloatName | None:
    """Return the dtype to read a shadow in: a model of one 16-bit dtype takes that and half of the bytes.

    The service rounds to it just as the copy into the model would.
    """
    dtypes = {named.tensor.dtype for named in tensors if named.policy == "AVERAGE"}
    if dtypes == {torch.bfloat16}:
        return "BF16"
    return "F16" if dtypes == {torch.float16} else None
