"""Which tensors a run has, and where each lies in the bytes of a step.

    offset  0            64·i          64·j          step_bytes     first_step_bytes (multiples of 64)
            | tensor 0 ..| tensor 2 ...| tensor 3 … .| tensor 1 … ..|      . = zeros up to the next multiple of 64

Tensors lie in the declared order, those of policy COPY_ONCE (here tensor 1) behind all others, row-major and
little-endian; ignored and empty ones take no bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from .dtypes import FLOATS, item_bytes, parse_dtype
from .wire import DType, Policy, PolicyRule, Tensor

ALIGNMENT_BYTES = 64

# Of the dtypes whose range another floating-point dtype exceeds.
_LARGEST = {DType.F16: "65504", DType.BF16: "3.4e38", DType.F32: "3.4e38"}

PolicyName = Literal["AVERAGE", "COPY", "IGNORE", "COPY_ONCE"]


class TensorSpec(NamedTuple):
    """A tensor of a layout, when there is no array to take it from.

    Attributes:
        dtype: a safetensors name ("F32"), a numpy dtype or its name.
        shape: extents, outermost first; a scalar has none.
        policy: AVERAGE (the default for F16, BF16, F32, F64), COPY (the default for others), IGNORE, or COPY_ONCE: sent
            with the first committed step only, for tensors that are frozen. None: what the run's policies say.
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


def gap_after(size_bytes: int) -> int:
    """Return how many zeros follow a tensor or box of that size: the next one starts at a multiple of 64."""
    return -size_bytes % ALIGNMENT_BYTES


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
    # As it was asked for by itself; unspecified: by the run's policies, or by default.
    own_policy: Policy

    @property
    def gap_bytes(self) -> int:
        """Zeros after it."""
        return gap_after(self.size_bytes)


class Layout:
    """The tensors of a run, and the byte space of its steps.

    Args:
        specs: the tensors by name, in order.
        wire_dtype: dtype in which averaged tensors travel; unspecified: each in its own.
        policies: policies by name pattern, for the tensors that have none of their own; the last that matches wins.

    Attributes:
        tensors: all, in the declared order.
        sent: those with bytes, in the order of the byte space.
        each_step: the part of `sent` that travels with every step.
        step_bytes: length of a step, without the tensors that are sent once.
        first_step_bytes: its length with them.
    """

    def __init__(
        self,
        specs: TensorSpecs,
        wire_dtype: DType = DType.UNSPECIFIED,
        policies: Mapping[str, PolicyName] | None = None,
    ) -> None:
        self.wire_dtype = wire_dtype
        self.rules = [PolicyRule(pattern, _policy(pattern, name)) for pattern, name in (policies or {}).items()]
        matchers = [(name_matcher(rule.pattern), rule.policy) for rule in self.rules]
        declared = [_declare(name, _spec_of(name, spec), wire_dtype, matchers) for name, spec in specs.items()]
        once = Policy.COPY_ONCE
        places: dict[str, PlacedTensor] = {}
        self.step_bytes = _place([tensor for tensor in declared if tensor.policy != once], 0, places)
        self.first_step_bytes = _place(
            [tensor for tensor in declared if tensor.policy == once], self.step_bytes, places
        )
        self.tensors = tuple(places[tensor.name] for tensor in declared)
        self.sent = tuple(tensor for tensor in places.values() if tensor.policy != Policy.IGNORE)
        self.each_step = tuple(tensor for tensor in self.sent if tensor.policy != once)

    @property
    def narrowing(self) -> str:
        """What to add where values are not finite: "", or that they travel in a dtype of less range than their own."""
        for tensor in self.tensors:
            largest = _LARGEST.get(tensor.wire_dtype)
            if largest is not None and _LARGEST.get(tensor.dtype) != largest:
                return (
                    f" (as it travels, in {tensor.wire_dtype.name}: above {largest} there are infinities only, and "
                    "finite values may become some; choose another wire_dtype)"
                )
        return ""

    def to_messages(self) -> list[Tensor]:
        """Return the layout as it travels, without the policies by pattern."""
        return [Tensor(tensor.name, tensor.dtype, list(tensor.shape), tensor.own_policy) for tensor in self.tensors]


def _spec_of(name: str, spec: TensorSpec | tuple[Any, Sequence[int]] | ArrayLike) -> TensorSpec:
    if isinstance(spec, tuple):
        return TensorSpec(*spec)
    if isinstance(spec, ArrayLike):
        return TensorSpec(spec.dtype, spec.shape)
    raise TypeError(f"tensor {name!r} must be an array, a TensorSpec or (dtype, shape), got {type(spec).__name__}")


def _declare(
    name: str, spec: TensorSpec, wire_dtype: DType, matchers: Sequence[tuple[re.Pattern[str], Policy]]
) -> PlacedTensor:
    """Return the tensor, checked, before its place is known."""
    try:
        dtype = parse_dtype(spec.dtype)
    except ValueError as error:
        raise ValueError(f"tensor {name!r}: {error}") from None
    shape = tuple(int(extent) for extent in spec.shape)
    if any(extent < 0 for extent in shape):
        raise ValueError(f"tensor {name!r} has shape {list(shape)}, extents must not be negative")
    own = Policy.UNSPECIFIED if spec.policy is None else _policy(name, spec.policy)
    default = Policy.AVERAGE if dtype in FLOATS else Policy.COPY
    ruled = next((policy for matcher, policy in reversed(matchers) if matcher.fullmatch(name)), default)
    policy = own or ruled
    averaged = policy == Policy.AVERAGE and wire_dtype != DType.UNSPECIFIED
    wire = wire_dtype if averaged else dtype
    size = 0 if policy == Policy.IGNORE else math.prod(shape) * item_bytes(wire)
    return PlacedTensor(name, dtype, shape, policy, wire, 0, size, own)


def _place(tensors: Sequence[PlacedTensor], offset: int, places: dict[str, PlacedTensor]) -> int:
    """Add the tensors to `places`, one behind the other from `offset` on; return where they end."""
    for tensor in tensors:
        places[tensor.name] = replace(tensor, offset=offset)
        offset += tensor.size_bytes + tensor.gap_bytes
    return offset


def _policy(whose: str, name: str) -> Policy:
    if name not in Policy.__members__ or name == "UNSPECIFIED":
        raise ValueError(f"policy of {whose!r} must be AVERAGE, COPY, IGNORE or COPY_ONCE, got {name!r}")
    return Policy[name]


def name_matcher(pattern: str) -> re.Pattern[str]:
    """Return what matches a name pattern, in which "*" stands for any run of characters, as in the service."""
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)
