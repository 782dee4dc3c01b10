"""torch's dtypes by safetensors' names."""

from __future__ import annotations

import torch

from ..wire import DType

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


def dtype_of(tensor: torch.Tensor, name: str) -> DType:
    """Return a tensor's dtype. Raises TypeError, which names the tensor, for one that cannot travel."""
    if tensor.dtype not in _NAMES:
        raise TypeError(f"tensor {name!r} has dtype {tensor.dtype}, which cannot be sent")
    return _NAMES[tensor.dtype]
