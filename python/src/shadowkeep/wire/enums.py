"""The enums of `proto/shadowkeep/v1/types.proto`, without the prefix that carries the enum's name (DTYPE_BF16)."""

from __future__ import annotations

from enum import IntEnum


class DType(IntEnum):
    """Element types, by the names of safetensors."""

    UNSPECIFIED = 0
    BOOL = 1
    U8 = 2
    I8 = 3
    U16 = 4
    I16 = 5
    U32 = 6
    I32 = 7
    U64 = 8
    I64 = 9
    F16 = 10
    BF16 = 11
    F32 = 12
    F64 = 13
    F8_E4M3 = 14
    F8_E5M2 = 15


class Policy(IntEnum):
    """What is done with a tensor at each commit."""

    UNSPECIFIED = 0
    AVERAGE = 1
    COPY = 2
    IGNORE = 3
    COPY_ONCE = 4


class Start(IntEnum):
    """What a shadow is before the first folded update."""

    UNSPECIFIED = 0
    ZEROS = 1
    INITIAL = 2
    FIRST = 3


class DelayMode(IntEnum):
    """What becomes of an average before its delay is over."""

    UNSPECIFIED = 0
    COPY_UNTIL = 1
    HOLD_UNTIL = 2
    COPY_EACH_UNTIL = 3


class DecayUnit(IntEnum):
    """What an average's decay counts."""

    UNSPECIFIED = 0
    PER_UPDATE = 1
    PER_STEP = 2


class IndexUnit(IntEnum):
    """What the index of an average's schedule counts."""

    UNSPECIFIED = 0
    UPDATES = 1
    PUSHES = 2


class NonFinite(IntEnum):
    """What is done with infinities and NaN in averaged tensors."""

    UNSPECIFIED = 0
    ACCEPT = 1
    REJECT_STEP = 2
    SKIP_TENSOR = 3


class StepState(IntEnum):
    """What became of a pushed step."""

    UNSPECIFIED = 0
    COMMITTED = 1
    ALREADY_COMMITTED = 2
    SKIPPED = 3
    DROPPED = 4
    REJECTED = 5
