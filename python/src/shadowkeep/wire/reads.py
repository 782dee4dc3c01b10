"""Requests and responses of GetShadow; field meanings are in the proto's comments."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Buffer, Message, field
from .enums import DType
from .types import Box, Movement


@dataclass(slots=True)
class Resume(Message):
    """Where to go on with a broken read."""

    version: int = field(1, "uint64")
    offset: int = field(2, "uint64")


@dataclass(slots=True)
class GetShadowRequest(Message):
    """Which weights to read, and how."""

    run: str = field(1, "string")
    average: str = field(2, "string")
    step: int | None = field(3, "uint64", optional=True)
    min_step: int | None = field(4, "uint64", optional=True)
    resume: Resume | None = field(5, "message", Resume)
    wait_ms: int = field(6, "uint64")
    names: list[str] = field(7, "string", repeated=True)
    boxes: list[Box] = field(8, "message", Box, repeated=True)
    dtype: DType = field(9, "enum", DType)
    chunk_bytes: int = field(10, "uint64")
    checksums: bool = field(11, "bool")
    sigma_rel: float | None = field(12, "double", optional=True)
    gamma: float | None = field(13, "double", optional=True)


@dataclass(slots=True)
class ShadowTensor(Message):
    """One tensor of a read."""

    name: str = field(1, "string")
    dtype: DType = field(2, "enum", DType)
    shape: list[int] = field(3, "uint64", repeated=True)
    offset: int = field(4, "uint64")
    averaged: bool = field(5, "bool")
    box_offset: list[int] = field(6, "uint64", repeated=True)
    global_shape: list[int] = field(7, "uint64", repeated=True)


@dataclass(slots=True)
class Contribution(Message):
    """One part of a combination of power-function averages; the weights of all parts sum to one."""

    average: str = field(1, "string")
    step: int = field(2, "uint64")
    gamma: float = field(3, "double")
    weight: float = field(4, "double")


@dataclass(slots=True)
class ShadowHeader(Message):
    """First message of a read."""

    run: str = field(1, "string")
    average: str = field(2, "string")
    step: int = field(3, "uint64")
    num_updates: int = field(4, "uint64")
    generation: int = field(5, "uint64")
    weight: float = field(6, "double")
    version: int = field(7, "uint64")
    tensors: list[ShadowTensor] = field(8, "message", ShadowTensor, repeated=True)
    total_bytes: int = field(9, "uint64")
    durable_step: int | None = field(10, "uint64", optional=True)
    movement: Movement | None = field(11, "message", Movement)
    contributions: list[Contribution] = field(12, "message", Contribution, repeated=True)
    fit_error: float | None = field(13, "double", optional=True)
    tensor_count: int = field(14, "uint64")


@dataclass(slots=True)
class ShadowTensors(Message):
    """More of a header's tensors."""

    tensors: list[ShadowTensor] = field(1, "message", ShadowTensor, repeated=True)


@dataclass(slots=True)
class ShadowChunk(Message):
    """A piece of a read's bytes."""

    offset: int = field(1, "uint64")
    crc32c: int | None = field(2, "fixed32", optional=True)
    data: Buffer = field(15, "bytes")


@dataclass(slots=True)
class ShadowEnd(Message):
    """Last message of a read."""

    total_bytes: int = field(1, "uint64")


@dataclass(slots=True)
class GetShadowResponse(Message):
    """What a reader gets: one of the four."""

    header: ShadowHeader | None = field(1, "message", ShadowHeader)
    chunk: ShadowChunk | None = field(2, "message", ShadowChunk)
    end: ShadowEnd | None = field(3, "message", ShadowEnd)
    tensors: ShadowTensors | None = field(4, "message", ShadowTensors)
