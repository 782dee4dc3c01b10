"""Which tensors a run has, and where each lies in the bytes of a step.

    offset  0            64·i          64·j          step_bytes (a multiple of 64)
            | tensor 0 ..| tensor 1 ...| tensor 2 … .|      . = zeros up to the next multiple of 64

Tensors lie in the declared order, row-major and little-endian; ignored and empty ones take no bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from .dtypes import FLOATS, item_bytes, parse_dtype
from .wire import DType, Policy, Tensor

ALIGNMENT_BYTES = 64

PolicyName = Literal["AVERAGE", "COPY", "IGNORE"]


class TensorSpec(NamedTuple):
    """A tensor of a layout, when there is no array to take it from.

    Attributes:
        dtype: a safetensors name ("F32"), a numpy dtype or its name.
        shape: extents, outermost first; a scalar has none.
        policy: AVERAGE (the default for F16, BF16, F32, F64), COPY (the default for others) or IGNORE.
    """

    dtype: Any
    shape: Sequence[int]
    policy: PolicyName | None = None


@runtime_checkable
class ArrayLike(Protocol):
    """Whatever has a numpy dtype and a shape."""

    @property
    def dtype(self) -> Any: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102


TensorSpecs = Mapping[str, TensorSpec | tuple[Any, Sequence[int]] | ArrayLike]


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A tensor of a layout with its place in the step: `dtype` is the model's, `wire_dtype` that of its bytes."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    policy: Policy
    wire_dtype: DType
    offset: int
    size_bytes: int

    @property
    def gap_bytes(self) -> int:
        """Zeros after it."""
        return -self.size_bytes % ALIGNMENT_BYTES


class Layout:
    """The tensors of a run in order, and the byte space of its steps."""

    def __init__(self, specs: TensorSpecs, wire_dtype: DType = DType.UNSPECIFIED) -> None:
        self.wire_dtype = wire_dtype
        self.step_bytes = 0
        placed = []
        for name, spec in specs.items():
            tensor = _place(name, _spec_of(name, spec), wire_dtype, self.step_bytes)
            self.step_bytes += tensor.size_bytes + tensor.gap_bytes
            placed.append(tensor)
        self.tensors = tuple(placed)
        self.sent = tuple(tensor for tensor in placed if tensor.policy != Policy.IGNORE)

    def to_messages(self) -> list[Tensor]:
        """Return the layout as it travels."""
        return [Tensor(tensor.name, tensor.dtype, list(tensor.shape), tensor.policy) for tensor in self.tensors]


def _spec_of(name: str, spec: TensorSpec | tuple[Any, Sequence[int]] | ArrayLike) -> TensorSpec:
    if isinstance(spec, tuple):
        return TensorSpec(*spec)
    if isinstance(spec, ArrayLike):
        return TensorSpec(spec.dtype, spec.shape)
    raise TypeError(f"tensor {name!r} must be an array, a TensorSpec or (dtype, shape), got {type(spec).__name__}")


def _place(name: str, spec: TensorSpec, wire_dtype: DType, offset: int) -> PlacedTensor:
    try:
        dtype = parse_dtype(spec.dtype)
    except ValueError as error:
        raise ValueError(f"tensor {name!r}: {error}") from None
    shape = tuple(int(extent) for extent in spec.shape)
    if any(extent < 0 for extent in shape):
        raise ValueError(f"tensor {name!r} has shape {list(shape)}, extents must not be negative")
    default = Policy.AVERAGE if dtype in FLOATS else Policy.COPY
    policy = default if spec.policy is None else Policy[spec.policy]
    averaged = policy == Policy.AVERAGE and wire_dtype != DType.UNSPECIFIED
    wire = wire_dtype if averaged else dtype
    size = 0 if policy == Policy.IGNORE else math.prod(shape) * item_bytes(wire)
    return PlacedTensor(name, dtype, shape, policy, wire, offset, size)
